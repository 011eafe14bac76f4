//! The control plane of the tests is a real one: controllers work, RBAC is on, and the audit log tells of every call.

use std::time::Duration;

use celeriac_tests::eventually;
use celeriac_tests::kube::{ADMINISTRATOR, Call, ControlPlane};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};

/// How long a controller may take; on a quiet machine it takes a second.
const SOON: Duration = Duration::from_mins(2);

const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: mail}
spec:
  replicas: 2
  selector: {matchLabels: {app: mail}}
  template:
    metadata: {labels: {app: mail}}
    spec:
      containers: [{name: worker, image: 'example/mail:1'}]
";

#[tokio::test]
async fn controllers_make_pods_of_a_deployment_and_remove_them() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("deployment").await;
    namespace.apply(DEPLOYMENT);
    let pods: Api<Pod> = namespace.api();
    let made = eventually("two pods wait for a node", SOON, async || {
        let pods = pods.list(&ListParams::default().labels("app=mail")).await;
        let pods = pods.map_err(|error| error.to_string())?.items;
        let pending =
            |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Pending");
        match pods.len() {
            2 if pods.iter().all(pending) => Ok(pods),
            _ => Err(format!("{pods:?}")),
        }
    })
    .await;
    let replica_sets: Api<ReplicaSet> = namespace.api();
    let owner = &made[0]
        .metadata
        .owner_references
        .as_ref()
        .expect("an owner")[0];
    let replica_set = replica_sets.get(&owner.name).await.expect("it is there");
    assert_eq!(replica_set.spec.and_then(|spec| spec.replicas), Some(2));

    namespace.kubectl(&["delete", "deployment", "mail", "--cascade=foreground"]);
    eventually("nothing is left", SOON, async || {
        let left = pods.list(&ListParams::default()).await;
        let left = left.map_err(|error| error.to_string())?.items.len();
        (left == 0).then_some(()).ok_or(format!("{left} pods"))
    })
    .await;
    let deployments: Api<Deployment> = namespace.api();
    assert_eq!(deployments.get_opt("mail").await.expect("an answer"), None);
}

#[tokio::test]
async fn an_account_may_do_what_its_role_says_and_the_audit_log_tells_both() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.namespace("rights").await;
    let mark = plane.audit().mark();
    let account = namespace.account("reader").await;
    let name = namespace.name();
    let maps: Api<ConfigMap> = Api::namespaced(account.client(), name);

    let refused = maps.list(&ListParams::default()).await;
    let refused = refused.expect_err("it has no rights").to_string();
    let who =
        format!("User \"system:serviceaccount:{name}:reader\" cannot list resource \"configmaps\"");
    assert!(refused.contains(&who), "{refused}");
    let refused = account
        .try_kubectl(&["get", "configmaps"])
        .expect_err("it has no rights");
    assert!(refused.contains(&who), "{refused}");

    namespace.kubectl(&[
        "create",
        "role",
        "read",
        "--verb=list",
        "--resource=configmaps",
    ]);
    let subject = format!("--serviceaccount={name}:reader");
    namespace.kubectl(&["create", "rolebinding", "read", "--role=read", &subject]);
    // Rights are watched by the API server, so they come a moment later.
    let all = ListParams::default();
    let listed = eventually("the role counts", SOON, || maps.list(&all)).await;
    assert_eq!(
        listed.items[0].metadata.name.as_deref(),
        Some("kube-root-ca.crt")
    );

    let calls = eventually("the last call is in the log", SOON, async || {
        let calls = plane.audit().calls_since(mark);
        let ended = |call: &Call| call.user == account.user() && call.code == 200;
        if calls.iter().any(ended) {
            Ok(calls)
        } else {
            Err("not yet")
        }
    })
    .await;
    let told = |user: &str, verb: &str, resource: &str| {
        let mine = calls
            .iter()
            .filter(|call| call.user == user && call.namespace == name);
        let codes = mine.filter(|call| call.verb == verb && call.resource == resource);
        codes.map(|call| call.code).collect::<Vec<_>>()
    };
    let listed = told(account.user(), "list", "configmaps");
    assert_eq!(listed[..2], [403, 403]);
    assert_eq!(listed.last(), Some(&200));
    assert_eq!(told(ADMINISTRATOR, "create", "roles"), [201]);
    assert_eq!(
        told(ADMINISTRATOR, "create", "serviceaccounts/token"),
        [201]
    );
    let role = calls
        .iter()
        .find(|call| call.resource == "roles")
        .expect("it was found");
    assert_eq!(role.body["rules"][0]["verbs"][0], "list");
    let token = calls
        .iter()
        .find(|call| call.resource == "serviceaccounts/token");
    assert!(token.expect("it was found").body.is_null());
}

#[tokio::test]
async fn servers_may_be_killed_and_come_back_with_what_they_had() {
    let mut plane = ControlPlane::start().await;
    let namespace = plane.namespace("kept").await;
    namespace.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]);
    plane.kill_controllers();
    plane.kill_api_server();
    plane.kill_etcd();
    let maps: Api<ConfigMap> = namespace.api();
    maps.get("kept").await.expect_err("nobody serves");

    plane.start_etcd();
    plane.start_api_server().await;
    let map = maps.get("kept").await.expect("it was kept");
    assert_eq!(map.data.expect("it has data")["a"], "b");
    plane.start_controllers().await;
    let next = plane.namespace("next").await;
    assert_eq!(next.kubectl(&["get", "pods", "-o", "name"]), "");

    let folder = plane.folder().to_owned();
    plane.stop();
    assert!(!folder.exists(), "{} is left", folder.display());
}
