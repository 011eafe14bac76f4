//! Who else scales a pool: every HorizontalPodAutoscaler, of which nothing is kept but whom it scales. KEDA makes one for each
//! `ScaledObject`, which is then its owner, so that those need not be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use celeriac_process::error_chain;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec as Spec,
};
use kube::Client;
use kube::api::{Api, ObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};

use crate::controllers::run::api;
use crate::crd::{CeleryWorker, GROUP, ScalingMode};

/// Every HorizontalPodAutoscaler of one namespace, or of all.
pub(super) struct Others {
    store: Store<HorizontalPodAutoscaler>,
    complete: Arc<AtomicBool>,
}

/// What is known of who else scales a pool.
pub(super) enum Other {
    /// Nobody does.
    Nobody,
    /// Who does, in words.
    Found(String),
    /// It is not known yet.
    Unknown,
}

/// Follows them; the future ends never, and has to be driven.
pub(super) fn watch(
    client: &Client,
    place: Option<&str>,
) -> (Others, impl Future<Output = ()> + use<>) {
    let api: Api<HorizontalPodAutoscaler> = api(client, place);
    let (store, writer) = reflector::store();
    let others = Others {
        store,
        complete: Arc::default(),
    };
    let complete = Arc::clone(&others.complete);
    let events = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(keep_little)
        .reflect(writer);
    (others, drive(events, complete))
}

async fn drive(
    events: impl Stream<Item = watcher::Result<watcher::Event<HorizontalPodAutoscaler>>>,
    complete: Arc<AtomicBool>,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitDone) => complete.store(true, Ordering::Release),
            Ok(_) => {}
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(error, "cannot look for HorizontalPodAutoscalers");
            }
        }
    }
}

/// What of it is kept: there may be many that are none of ours.
fn keep_little(object: &mut HorizontalPodAutoscaler) {
    let metadata = std::mem::take(&mut object.metadata);
    object.metadata = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        owner_references: metadata.owner_references,
        ..ObjectMeta::default()
    };
    object.status = None;
    object.spec = object.spec.take().map(|spec| Spec {
        scale_target_ref: spec.scale_target_ref,
        ..Spec::default()
    });
}

/// Who else scales a pool, as far as all of `places` know.
pub(super) fn find(places: &[Others], namespace: &str, pool: &CeleryWorker) -> Other {
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let native = pool.spec.options.scaling.mode == ScalingMode::Native;
    let all = places.iter().flat_map(|place| place.store.state());
    let found = all
        .filter(|one| one.metadata.namespace.as_deref() == Some(namespace))
        .find_map(|one| scales(&one, name, native).map(|what| words(&one, what)));
    match found {
        Some(words) => Other::Found(words),
        None if places
            .iter()
            .all(|place| place.complete.load(Ordering::Acquire)) =>
        {
            Other::Nobody
        }
        None => Other::Unknown,
    }
}

/// What of a pool it scales: its Deployment, which is the operator's alone, or the pool, which has one to decide too.
fn scales(object: &HorizontalPodAutoscaler, pool: &str, native: bool) -> Option<&'static str> {
    let target = &object.spec.as_ref()?.scale_target_ref;
    if target.name != pool {
        return None;
    }
    let group = target.api_version.as_deref().unwrap_or_default();
    let group = group.split_once('/').map_or("", |(group, _)| group);
    match (group, target.kind.as_str()) {
        ("apps", "Deployment") => Some("the Deployment of this pool"),
        (GROUP, "CeleryWorker") if native => Some("this pool"),
        _ => None,
    }
}

fn words(object: &HorizontalPodAutoscaler, what: &str) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let owners = object.metadata.owner_references.iter().flatten();
    let mut scaled = owners.filter(|owner| owner.kind == "ScaledObject");
    let who = match scaled.next() {
        Some(owner) => format!(
            "ScaledObject {} (HorizontalPodAutoscaler {name})",
            owner.name
        ),
        None => format!("HorizontalPodAutoscaler {name}"),
    };
    let way_out = if what == "this pool" {
        "delete it, or use scaling.mode external"
    } else {
        "let it scale the CeleryWorker, with scaling.mode external"
    };
    format!("{who} scales {what} too: {way_out}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(api: &str, kind: &str, name: &str) -> HorizontalPodAutoscaler {
        let object = json!({
            "metadata": {"name": "theirs", "namespace": "live", "labels": {"a": "b"}},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": api, "kind": kind, "name": name}},
        });
        let mut object = serde_json::from_value(object).expect("it is a HorizontalPodAutoscaler");
        keep_little(&mut object);
        object
    }

    #[test]
    fn another_scales_the_deployment_always_and_the_pool_when_the_operator_does() {
        let pool = of("celeriac.dev/v1alpha1", "CeleryWorker", "shop");
        assert_eq!(scales(&pool, "shop", true), Some("this pool"));
        assert_eq!(scales(&pool, "shop", false), None);
        assert_eq!(scales(&pool, "other", true), None);
        let deployment = of("apps/v1", "Deployment", "shop");
        for native in [true, false] {
            assert!(scales(&deployment, "shop", native).is_some());
        }
        let another = of("example.com/v1", "CeleryWorker", "shop");
        assert_eq!(scales(&another, "shop", true), None);
    }

    #[test]
    fn it_is_named_with_its_scaled_object_if_it_has_one_and_with_a_way_out() {
        let mut object = of("apps/v1", "Deployment", "shop");
        let said = words(&object, "the Deployment of this pool");
        assert!(
            said.starts_with("HorizontalPodAutoscaler theirs scales"),
            "{said}"
        );
        assert!(said.contains("external"), "{said}");
        let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "mine", "uid": "1"}]);
        object.metadata.owner_references = serde_json::from_value(owner).expect("an owner");
        let said = words(&object, "this pool");
        assert!(
            said.starts_with("ScaledObject mine (HorizontalPodAutoscaler theirs)"),
            "{said}"
        );
    }
}
