//! A node that is lost: Kubernetes gives up on its pod, and starts no second one of a `StatefulSet` while the first may run.

use std::path::Path;
use std::time::Duration;

use celeriac_tests::eventually;
use celeriac_tests::kube::{ControlPlane, Namespace};
use celeriac_tests::kubelet::{Image, Kubelet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::{SOON, is_ready, pod_is};

/// Kubernetes takes a node for lost 50 s after its last lease.
const LOST: Duration = Duration::from_mins(4);

const BEAT: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: beat}
spec:
  serviceName: beat
  selector: {matchLabels: {app: beat}}
  template:
    metadata: {labels: {app: beat}}
    spec:
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
      containers:
      - name: beat
        image: tools
        command: [sh, -c, 'trap "echo down >>/log/file; exit 0" TERM; echo up >>/log/file; while :; do sleep 0.1; done']
        volumeMounts: [{name: log, mountPath: /log}]
      volumes: [{name: log, hostPath: {path: FOLDER}}]
"#;

async fn node(namespace: &Namespace, name: &str) -> Kubelet {
    let kubelet = Kubelet::of(namespace).name(&format!("{}-{name}", namespace.name()));
    kubelet.image("tools", Image::system(&[])).start().await
}

#[tokio::test]
async fn a_lost_node_keeps_its_pod_until_it_is_heard_of_again() {
    let namespace = ControlPlane::shared().await.namespace("lost").await;
    let nodes = [node(&namespace, "a").await, node(&namespace, "b").await];
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let path = folder.path().to_str().expect("it is UTF-8");
    let told = || std::fs::read_to_string(folder.path().join("file")).unwrap_or_default();
    namespace.apply(&BEAT.replace("FOLDER", path));
    let first = pod_is(&namespace, "beat-0", "is Ready", is_ready).await;
    let at = first
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref());
    let lost = nodes
        .iter()
        .find(|node| Some(node.name()) == at)
        .expect("it runs on one");
    let pid = lost.pid("beat-0", "beat").expect("it runs");

    lost.silence(true);
    let pods: Api<Pod> = namespace.api();
    eventually("Kubernetes gives up on the pod", LOST, async || {
        let pod = pods
            .get("beat-0")
            .await
            .map_err(|error| error.to_string())?;
        pod.metadata
            .deletion_timestamp
            .map(drop)
            .ok_or(format!("{:?}", pod.status))
    })
    .await;
    // Nobody knows whether it still runs, so there is no other; and it does still run.
    let list = pods
        .list(&ListParams::default())
        .await
        .expect("an answer")
        .items;
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].metadata.uid, first.metadata.uid);
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(told(), "up\n");

    lost.silence(false);
    let again = |pod: &Pod| pod.metadata.uid != first.metadata.uid && is_ready(pod);
    pod_is(&namespace, "beat-0", "is a new one", again).await;
    eventually("the second is up", SOON, async || {
        let told = told();
        if told == "up\ndown\nup\n" {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}
