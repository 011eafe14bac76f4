//! The process kubelet does with pods what Kubernetes promises, with real Celery workers and real Redis in them.

mod containers;
mod services;
mod workers;

use std::time::Duration;

use celeriac_tests::eventually;
use celeriac_tests::kube::{ControlPlane, Namespace};
use celeriac_tests::kubelet::{Image, Kubelet};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

/// How long what takes seconds on a quiet machine may take.
const SOON: Duration = Duration::from_mins(2);

/// A namespace with a node that has programs of this machine as image `tools`, and whatever else is added.
async fn bed(
    name: &str,
    more: impl FnOnce() -> Vec<(&'static str, Image)>,
) -> (Namespace, Kubelet) {
    let namespace = ControlPlane::shared().await.namespace(name).await;
    let mut kubelet = Kubelet::of(&namespace).image("tools", Image::system(&[]));
    for (name, image) in more() {
        kubelet = kubelet.image(name, image);
    }
    let kubelet = kubelet.start().await;
    (namespace, kubelet)
}

/// Waits until something about a pod holds.
async fn pod_is(
    namespace: &Namespace,
    name: &str,
    what: &str,
    holds: impl Fn(&Pod) -> bool,
) -> Pod {
    let pods: Api<Pod> = namespace.api();
    eventually(&format!("pod {name} {what}"), SOON, async || {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        if holds(&pod) {
            Ok(pod)
        } else {
            Err(format!("{:?}", pod.status))
        }
    })
    .await
}

/// Waits until so many pods are Ready, and no others are there.
async fn ready(namespace: &Namespace, selector: &str, count: usize) -> Vec<Pod> {
    let pods: Api<Pod> = namespace.api();
    let parameters = ListParams::default().labels(selector);
    eventually(
        &format!("{count} pods of {selector} are Ready"),
        SOON,
        async || {
            let list = pods
                .list(&parameters)
                .await
                .map_err(|error| error.to_string())?;
            if list.items.len() == count && list.items.iter().all(is_ready) {
                return Ok(list.items);
            }
            let told = list
                .iter()
                .map(|pod| format!("{}: {:?}", pod.name_any(), pod.status));
            Err(told.collect::<Vec<_>>().join("\n"))
        },
    )
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// The status of a container, init containers among them; empty while there is none.
fn container(pod: &Pod, name: &str) -> ContainerStatus {
    let status = pod.status.clone().unwrap_or_default();
    let inits = status.init_container_statuses.into_iter().flatten();
    let mut all = status.container_statuses.into_iter().flatten().chain(inits);
    all.find(|container| container.name == name)
        .unwrap_or_default()
}
