//! The password of a Redis that the operator runs, while it changes: the server takes the one in its Secret and those before, and
//! is told when no pod has any of those.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::apply::BUILD_MANAGER;
use crate::build::broker::{self as build, PASSWORD_ANNOTATION};
use crate::build::{Kind, Owner, SECRETS_ANNOTATION};
use crate::controllers::Context;
use crate::crd::status::Truth;
use crate::crd::{CeleryScheduler, CeleryWorker};
use crate::error::{Deed, Error};
use crate::fetch::{self, SecretUse};
use crate::report::Fact;

/// How often it is looked whether the last pod with an old password is gone.
const AWAITED: Duration = Duration::from_secs(10);

/// Pods that a message names.
const NAMED_MAX: usize = 5;

/// How far a change of the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rotation {
    /// No pod has another password than the Secret's, and the server was told; or it is not there yet.
    Settled,
    /// These pods may have another.
    Awaits(Vec<String>),
    /// The Secret's password is not that of its URL: nobody knows which is meant.
    Differs,
    /// The Secret has no key for fingerprints.
    NoKey,
}

impl Rotation {
    pub(super) fn fact(&self) -> Fact {
        let runs = |reason: &str, message: String| Fact::new("Ready", Truth::True, reason, message);
        match self {
            Self::Settled => runs("RedisRuns", "Redis runs".to_owned()),
            Self::Awaits(pods) => {
                let named: Vec<&str> = pods.iter().take(NAMED_MAX).map(String::as_str).collect();
                let names = named.join(", ");
                let more = match pods.len() - named.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let message = format!(
                    "Redis runs, and takes the password it had before too, until no pod is left that may have it: {names}{more}"
                );
                runs("PasswordChanges", message)
            }
            Self::Differs => {
                let message = "Redis runs, and takes the password it had before too: in its Secret the password in url is \
                               not that in password";
                runs("PasswordsDiffer", message.to_owned())
            }
            Self::NoKey => {
                let message = format!(
                    "Redis runs; a password it had before is not taken away, since its Secret has no key {}: add one with \
                     random letters",
                    build::FINGERPRINT_KEY
                );
                runs("RedisRuns", message)
            }
        }
    }

    pub(super) fn again(&self) -> Option<Duration> {
        matches!(self, Self::Awaits(_)).then_some(AWAITED)
    }
}

/// Tells the server of the Secret's password, and when no other is needed any more.
pub(super) async fn follow(context: &Context, owner: &Owner) -> Result<Rotation, Error> {
    let (client, namespace) = (&context.client, &owner.namespace);
    let secret = build::secret_name(&owner.name);
    // Read first: a pod that is made later reads this one or a later.
    let password = fetch::password::password(client, namespace, &secret).await?;
    let (name, selector) = build::pod(&owner.name);
    let server = ListParams::default()
        .labels(&selector)
        .fields(&format!("metadata.name={name}"));
    let Some(server) = pods(context, namespace, &server).await?.pop() else {
        return Ok(Rotation::Settled);
    };
    let Some(fingerprint) = password.fingerprint else {
        return Ok(Rotation::NoKey);
    };
    let told = server.annotations().get(PASSWORD_ANNOTATION);
    let only = format!("{fingerprint} only");
    if told == Some(&only) {
        return Ok(Rotation::Settled);
    }
    if !password.is_in_url {
        return Ok(Rotation::Differs);
    }
    let old = old(context, owner, &secret, password.changed).await?;
    let tell = if old.is_empty() { &only } else { &fingerprint };
    if told != Some(tell) {
        annotate(context, namespace, &server, tell).await?;
    }
    Ok(if old.is_empty() {
        Rotation::Settled
    } else {
        Rotation::Awaits(old)
    })
}

/// Names of the pods that read the Secret and may have been made with another password. Those of ours have a fingerprint of
/// what they read; others count by when they were made.
async fn old(
    context: &Context,
    owner: &Owner,
    secret: &str,
    changed: Option<Timestamp>,
) -> Result<Vec<String>, Error> {
    let all = pods(context, &owner.namespace, &ListParams::default()).await?;
    let readers: Vec<Pod> = all
        .into_iter()
        .filter(|pod| runs(pod) && !serves(pod, &owner.name) && reads(&json!(pod.spec), secret))
        .collect();
    if readers.is_empty() {
        return Ok(Vec::new());
    }
    let expected = expected(context, owner, secret).await?;
    let old = readers.iter().filter(|pod| {
        let made_of = pod.annotations().get(SECRETS_ANNOTATION);
        let current = expected.iter().any(|(label, name, now)| {
            let label = pod.labels().get(*label);
            let is_its = label.is_some_and(|label| name.as_ref().is_none_or(|name| name == label));
            is_its && made_of == Some(now)
        });
        !current && !made_after(pod, changed)
    });
    let mut names: Vec<String> = old.map(kube::ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// Label of pods, the name in it (any, if none), and the fingerprint of what those that are made now read, the Secret among it.
type Expected = (&'static str, Option<String>, String);

async fn expected(context: &Context, owner: &Owner, secret: &str) -> Result<Vec<Expected>, Error> {
    let (client, namespace) = (&context.client, owner.namespace.as_str());
    let list = ListParams::default();
    let failed = |kind| move |error| Error::of(fetch::deed("list", kind, ""), error);
    let workers = Api::<CeleryWorker>::namespaced(client.clone(), namespace)
        .list(&list)
        .await;
    let schedulers = Api::<CeleryScheduler>::namespaced(client.clone(), namespace)
        .list(&list)
        .await;
    let workers = workers.map_err(failed(Kind::CeleryWorker))?;
    let schedulers = schedulers.map_err(failed(Kind::CeleryScheduler))?;
    let workers = workers.iter().map(|worker| {
        let name = Some(worker.name_any());
        ("celeriac.dev/worker", name, worker.secrets())
    });
    let schedulers = schedulers.iter().map(|scheduler| {
        let name = Some(scheduler.name_any());
        ("celeriac.dev/scheduler", name, scheduler.secrets())
    });
    let url = build::own_url(&owner.name);
    let inspectors = SecretUse::default().key(&url.name, &url.key);
    let inspectors = std::iter::once(("celeriac.dev/inspector", None, inspectors));
    let mut expected = Vec::new();
    for (label, name, used) in workers.chain(schedulers).chain(inspectors) {
        if !used.names(secret) {
            continue;
        }
        match used.fingerprint(client, namespace).await {
            Ok(Some(fingerprint)) => expected.push((label, name, fingerprint)),
            // Of one that lacks a Secret of its own no pod is made now.
            Ok(None) | Err(Error::SecretMissing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(expected)
}

async fn pods(context: &Context, namespace: &str, which: &ListParams) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let list = api.list(which).await;
    Ok(list
        .map_err(|error| Error::of(deed("list", ""), error))?
        .items)
}

async fn annotate(
    context: &Context,
    namespace: &str,
    server: &Pod,
    text: &str,
) -> Result<(), Error> {
    let name = server.name_any();
    let patch = json!({"metadata": {
        // Of another pod of the name it would be something else.
        "uid": server.metadata.uid,
        "annotations": {PASSWORD_ANNOTATION: text},
    }});
    let params = PatchParams {
        field_manager: Some(BUILD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    match api.patch(&name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {
            let only = text.ends_with(" only");
            tracing::info!(namespace, name, only, "told a Redis of its password");
            Ok(())
        }
        // The next one is told.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::of(deed("annotate", &name), error)),
    }
}

fn deed(verb: &'static str, name: &str) -> Deed {
    Deed {
        verb,
        kind: "Pod",
        name: name.to_owned(),
    }
}

/// Whether it has not ended.
fn runs(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether it is the broker's own.
fn serves(pod: &Pod, broker: &str) -> bool {
    let label = pod.labels().get("celeriac.dev/broker");
    label.is_some_and(|label| label == broker)
}

/// Whether it was made in a second after that.
fn made_after(pod: &Pod, changed: Option<Timestamp>) -> bool {
    let made = pod.metadata.creation_timestamp.as_ref();
    made.zip(changed)
        .is_some_and(|(made, changed)| made.0 > changed)
}

/// Whether a pod's spec names the Secret, as variables or files.
fn reads(spec: &Value, secret: &str) -> bool {
    match spec {
        Value::Object(fields) => fields.iter().any(|(field, value)| {
            let named = match field.as_str() {
                "secretKeyRef" | "secretRef" => value["name"] == secret,
                "secret" => value["name"] == secret || value["secretName"] == secret,
                _ => false,
            };
            named || reads(value, secret)
        }),
        Value::Array(values) => values.iter().any(|value| reads(value, secret)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_reads_a_secret_by_variables_and_files_only() {
        for spec in [
            json!({"containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}}]}]}),
            json!({"initContainers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}),
            json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
        ] {
            assert!(reads(&spec, "s"), "{spec}");
            assert!(!reads(&spec, "t"), "{spec}");
        }
        let others = json!({
            "imagePullSecrets": [{"name": "s"}], "containers": [{"name": "s"}],
            "volumes": [{"name": "s", "configMap": {"name": "s"}}],
        });
        assert!(!reads(&others, "s"));
    }

    #[test]
    fn a_pod_of_the_second_of_the_change_may_have_been_made_before() {
        let at = |second: &str| format!("2026-01-01T00:00:{second}Z");
        let pod = |second: &str| -> Pod {
            let pod = json!({"metadata": {"creationTimestamp": at(second)}});
            serde_json::from_value(pod).expect("it is a pod")
        };
        let changed = Some(at("01").parse().expect("it is a time"));
        assert!(made_after(&pod("02"), changed));
        assert!(!made_after(&pod("01"), changed));
        assert!(!made_after(&pod("02"), None));
    }

    #[test]
    fn a_message_names_a_few_pods() {
        let pods = |count: usize| (0..count).map(|at| format!("p{at}")).collect();
        let message = |count| Rotation::Awaits(pods(count)).fact().message;
        assert!(message(5).ends_with("p0, p1, p2, p3, p4"));
        assert!(message(7).ends_with("p4 and 2 more"));
    }
}
