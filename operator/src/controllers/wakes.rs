//! Which changes of an object a reconcile has to look at. Pure but for the stream that passes them on.
//!
//! A change is passed over only if nothing in it is read by whom it would wake: what is read there has to be in a fingerprint here.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash as _, Hasher as _};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::App;

/// The objects whose fingerprint is not what it was; those that are gone too, if they count.
pub(super) fn changed<K: Resource>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    fingerprint: fn(&K) -> u64,
    deletions: bool,
) -> impl Stream<Item = Result<K, watcher::Error>> {
    let mut known: HashMap<Option<String>, u64> = HashMap::new();
    events.filter_map(move |event| {
        let object = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let print = fingerprint(&object);
                let before = known.insert(object.meta().uid.clone(), print);
                (before != Some(print)).then_some(Ok(object))
            }
            Ok(Event::Delete(object)) => {
                known.remove(&object.meta().uid);
                deletions.then_some(Ok(object))
            }
            // All that are there follow; what is forgotten here costs each one look.
            Ok(Event::Init) => {
                known.clear();
                None
            }
            Ok(Event::InitDone) => None,
            Err(error) => Some(Err(error)),
        };
        std::future::ready(object)
    })
}

/// What somebody asks of an object.
pub(super) fn asked<K: App>(object: &K) -> u64 {
    let metadata = object.meta();
    let mut hasher = DefaultHasher::new();
    metadata.generation.hash(&mut hasher);
    metadata.labels.hash(&mut hasher);
    metadata.annotations.hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

/// What of a part's status its app reads (`app.rs`), beside the condition `Ready`.
const READ_BY_APP: [&str; 3] = ["endpoint", "secretKeyRef", "readyReplicas"];

/// What of a condition it reads.
const READ_OF_READY: [&str; 4] = ["status", "reason", "message", "observedGeneration"];

/// What somebody asks of a part of an app, and what its reconcile says of it that its app reads.
pub(super) fn told<K: App>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    asked(object).hash(&mut hasher);
    owners(object).hash(&mut hasher);
    let status = object.status_value();
    let mut read = |value: &Value| value.to_string().hash(&mut hasher);
    for field in READ_BY_APP {
        read(&status[field]);
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    for ready in conditions.filter(|one| one["type"] == "Ready") {
        for field in READ_OF_READY {
            read(&ready[field]);
        }
    }
    hasher.finish()
}

/// An object that Kubernetes makes pods of.
pub(super) trait Made:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + 'static
{
    /// The numbers of its status that whoever made it reads.
    fn counts(&self) -> [Option<i64>; 4];
}

impl Made for Deployment {
    fn counts(&self) -> [Option<i64>; 4] {
        let status = self.status.as_ref();
        status.map_or([None; 4], |status| {
            [
                status.observed_generation,
                status.replicas.map(i64::from),
                status.ready_replicas.map(i64::from),
                status.updated_replicas.map(i64::from),
            ]
        })
    }
}

impl Made for StatefulSet {
    fn counts(&self) -> [Option<i64>; 4] {
        let status = self.status.as_ref();
        status.map_or([None; 4], |status| {
            [
                status.observed_generation,
                Some(i64::from(status.replicas)),
                status.ready_replicas.map(i64::from),
                status.updated_replicas.map(i64::from),
            ]
        })
    }
}

/// What somebody changes of an object that is made, and how many pods of which kind there are.
pub(super) fn made<K: Made>(object: &K) -> u64 {
    let metadata = object.meta();
    let mut hasher = DefaultHasher::new();
    metadata.generation.hash(&mut hasher);
    metadata.labels.hash(&mut hasher);
    owners(object).hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    object.counts().hash(&mut hasher);
    hasher.finish()
}

/// Whose an object is: one that loses its owner is to get it back.
fn owners<K: Resource>(object: &K) -> Vec<(String, Option<bool>)> {
    let owners = object.owner_references().iter();
    owners
        .map(|owner| (owner.uid.clone(), owner.controller))
        .collect()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde_json::json;

    use super::*;
    use crate::crd::CeleryWorker;

    fn pool(generation: i64, status: &Value) -> CeleryWorker {
        let object = json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "CeleryWorker",
            "metadata": {"name": "shop-mail", "uid": "1", "generation": generation},
            "spec": {"broker": {"address": "redis://redis/0"}, "image": "x:1", "appName": "shop"},
            "status": status,
        });
        serde_json::from_value(object).expect("it is a CeleryWorker")
    }

    fn condition(type_: &str, status: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    #[test]
    fn a_status_wakes_nobody_but_the_app_of_a_part_whose_reconcile_said_something_new() {
        let with =
            |conditions: &Value| pool(1, &json!({"readyReplicas": 1, "conditions": conditions}));
        let before = with(&json!([condition("Ready", "True")]));
        let live = pool(
            1,
            &json!({
                "readyReplicas": 1, "busy": "1/2", "backlog": 4, "oldest": "2026-01-01T00:00:00Z", "versions": ["5.7.0"],
                "online": 1, "unacked": 3, "eventsOff": 0,
                "conditions": [condition("Ready", "True"), condition("Observed", "True")],
            }),
        );
        let rolls = with(&json!([
            condition("Ready", "True"),
            condition("Progressing", "True")
        ]));
        for same in [&live, &rolls] {
            assert_eq!(asked(&before), asked(same));
            assert_eq!(told(&before), told(same));
        }
        let fewer = pool(
            1,
            &json!({"readyReplicas": 0, "conditions": [condition("Ready", "True")]}),
        );
        let not_ready = with(&json!([condition("Ready", "False")]));
        for says in [&fewer, &not_ready] {
            assert_eq!(asked(&before), asked(says));
            assert_ne!(told(&before), told(says));
        }
        let edited = pool(
            2,
            &json!({"readyReplicas": 1, "conditions": [condition("Ready", "True")]}),
        );
        assert_ne!(asked(&before), asked(&edited));
    }

    /// Every field that `worker.rs`, `scheduler.rs`, `app.rs` and `apply.rs` read of it counts, and no other.
    #[test]
    fn a_deployment_wakes_its_maker_by_what_is_read_of_it() {
        let of = |change: &dyn Fn(&mut Value)| {
            let mut object = json!({
                "metadata": {
                    "name": "shop-mail", "uid": "1", "generation": 1, "labels": {"a": "b"},
                    "ownerReferences": [{"apiVersion": "v", "kind": "K", "name": "n", "uid": "o", "controller": true}],
                },
                "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 1, "updatedReplicas": 2},
            });
            change(&mut object);
            let object: Deployment = serde_json::from_value(object).expect("it is a Deployment");
            made(&object)
        };
        let before = of(&|_| {});
        for read in [
            "/metadata/generation",
            "/status/observedGeneration",
            "/status/replicas",
            "/status/readyReplicas",
            "/status/updatedReplicas",
        ] {
            assert_ne!(
                before,
                of(&|object| *object.pointer_mut(read).expect("it is there") = json!(7)),
                "{read}"
            );
        }
        for (path, value) in [
            ("labels", json!({})),
            ("ownerReferences", json!([])),
            ("deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        ] {
            assert_ne!(
                before,
                of(&|object| object["metadata"][path] = value.clone()),
                "{path}"
            );
        }
        let others = of(&|object| {
            object["metadata"]["resourceVersion"] = json!("9");
            object["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
            object["status"]["availableReplicas"] = json!(1);
            object["status"]["unavailableReplicas"] = json!(1);
            object["status"]["conditions"] = json!([{"type": "Progressing", "status": "True"}]);
        });
        assert_eq!(before, others);
    }

    #[tokio::test]
    async fn what_is_gone_or_read_anew_counts_again() {
        let status = json!({});
        let events = [
            Event::InitApply(pool(1, &status)),
            Event::Apply(pool(1, &json!({"busy": "1/2"}))),
            Event::Apply(pool(2, &status)),
            Event::Delete(pool(2, &status)),
            Event::Apply(pool(2, &status)),
            Event::Init,
            Event::InitApply(pool(2, &status)),
        ];
        let count = async |deletions: bool| {
            let events = stream::iter(events.clone()).map(Ok);
            let changed = changed(events, told::<CeleryWorker>, deletions);
            changed.count().await
        };
        assert_eq!(count(false).await, 4);
        assert_eq!(count(true).await, 5);
    }
}
