//! How pods find each other and the API server.

use celeriac_tests::eventually;
use celeriac_tests::kube::ControlPlane;
use celeriac_tests::kubelet::Image;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams};

use super::{SOON, bed, phase, pod_is, ready};

/// Two servers on one port, each with a claim, and a client that finds them by name.
const STORE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: store}
spec: {clusterIP: None, selector: {app: store}, ports: [{port: 6379}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      containers:
      - name: redis
        image: redis:7
        args: [redis-server, --dir, /data, --appendonly, "yes", --appendfsync, always, --protected-mode, "no"]
        readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"#;

/// A pod that runs a line of shell and ends.
fn client(name: &str, line: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  containers:\n  \
         - {{name: main, image: tools, command: [sh, -c, '{line}']}}\n"
    )
}

#[tokio::test]
async fn pods_find_each_other_by_name_and_claims_outlive_them() {
    let (namespace, kubelet) = bed("store", || vec![("redis", Image::system(&[]))]).await;
    namespace.apply(STORE);
    ready(&namespace, "app=store", 2).await;
    let slices: Api<EndpointSlice> = namespace.api();
    eventually("the service has both addresses", SOON, async || {
        let slices = slices
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let ready = slices
            .iter()
            .map(|slice| slice.endpoints.len())
            .sum::<usize>();
        if ready == 2 {
            Ok(())
        } else {
            Err(format!("{slices:?}"))
        }
    })
    .await;
    let ask = async |name: &str, line: &str| {
        namespace.apply(&client(name, line));
        let ended = |pod: &Pod| ["Succeeded", "Failed"].contains(&phase(pod));
        pod_is(&namespace, name, "has ended", ended).await;
        kubelet.log(name, "main")
    };
    // Until the names are in its hosts file.
    let until = "until redis-cli -h store-1.store ping >/dev/null 2>&1; do sleep 0.1; done";
    let line = format!(
        "{until}; redis-cli -h store-0.store set who zero; redis-cli -h store-1.store get who; redis-cli -h store ping"
    );
    assert_eq!(ask("before", &line).await, "OK\n\nPONG\n");

    let pods: Api<Pod> = namespace.api();
    let old = pods.get("store-0").await.expect("it is there").metadata.uid;
    pods.delete("store-0", &DeleteParams::default())
        .await
        .expect("it is there");
    pod_is(&namespace, "store-0", "is a new one", |pod| {
        pod.metadata.uid != old && super::is_ready(pod)
    })
    .await;
    let until = "until redis-cli -h store-0.store ping >/dev/null 2>&1; do sleep 0.1; done";
    let line = format!("{until}; redis-cli -h store-0.store get who");
    assert_eq!(ask("after", &line).await, "zero\n");
}

#[tokio::test]
async fn a_pod_reaches_the_api_server_as_its_own_account() {
    let programs = ControlPlane::shared().await.programs().to_owned();
    let (namespace, kubelet) = bed("inside", || {
        vec![("kubectl", Image::system(&[]).mount(&programs, "/kube"))]
    })
    .await;
    namespace.account("looker").await;
    namespace.kubectl(&[
        "create",
        "role",
        "look",
        "--verb=list,get",
        "--resource=pods",
    ]);
    let subject = format!("--serviceaccount={}:looker", namespace.name());
    namespace.kubectl(&["create", "rolebinding", "look", "--role=look", &subject]);
    let pod = client(
        "inside",
        "/kube/kubectl get pods -o name; /kube/kubectl get secrets",
    );
    let pod = pod.replace("image: tools", "image: kubectl");
    namespace.apply(&pod.replace(
        "  restartPolicy",
        "  serviceAccountName: looker\n  restartPolicy",
    ));
    pod_is(&namespace, "inside", "has ended", |pod| {
        phase(pod) == "Failed"
    })
    .await;
    let log = kubelet.log("inside", "main");
    let who = format!(
        "User \"system:serviceaccount:{}:looker\" cannot list",
        namespace.name()
    );
    assert!(
        log.starts_with("pod/inside\n") && log.contains(&who),
        "{log}"
    );
}
