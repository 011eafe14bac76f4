//! `--auth kubernetes` on a real control plane: its tokens, its roles, and nothing where it does not answer.

use std::time::Duration;

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_proto::v1::watch_response::Message;
use celeriac_proto::v1::watch_service_client::WatchServiceClient;
use celeriac_tests::kube::{ControlPlane, Namespace};
use celeriac_tests::{Authority, eventually, turn};
use prost::Message as _;
use tonic::{Code, Status};

use crate::bed::{Bed, Known, SOON, page};
use crate::invented::{WORKER, attach, open, secret};
use crate::raw::call;

/// The promise is a minute.
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// An aggregator that asks the control plane, as an account that may.
struct KubeBed {
    bed: Bed,
    namespace: Namespace,
}

const ROLES: &str = r#"
{"apiVersion": "v1", "kind": "List", "items": [
 {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
  "metadata": {"name": "NAMESPACE-delegator"},
  "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
  "subjects": [{"kind": "ServiceAccount", "name": "aggregator", "namespace": "NAMESPACE"}]},
 {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "NAMESPACE-metrics"},
  "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]},
 {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
  "metadata": {"name": "NAMESPACE-metrics"},
  "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "NAMESPACE-metrics"},
  "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "NAMESPACE"}]}
]}"#;

/// The pod that the invented worker runs in.
const POD: &str = r#"
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "invented"},
 "spec": {"serviceAccountName": "nobody", "containers": [{"name": "celery", "image": "example/shop:1"}]}}"#;

/// A Role, and its binding to the account of the same name.
fn role(name: &str, verbs: &str, resources: &str, names: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
 {{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {{"name": "{name}"}},
  "rules": [{{"apiGroups": ["inspect.celeriac.dev"], "resources": [{resources}], "verbs": [{verbs}], "resourceNames": [{names}]}}]}},
 {{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {{"name": "{name}"}},
  "roleRef": {{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "{name}"}},
  "subjects": [{{"kind": "ServiceAccount", "name": "{name}"}}]}}
]}}"#
    )
}

impl KubeBed {
    async fn start() -> Self {
        let plane = ControlPlane::shared().await;
        let namespace = plane.namespace("access").await;
        plane
            .administrator()
            .apply(&ROLES.replace("NAMESPACE", namespace.name()));
        for (name, verbs, resources, names) in [
            ("viewer", r#""get""#, r#""tasks""#, ""),
            ("reader", r#""get""#, r#""tasks", "payloads""#, ""),
            ("tuner", r#""inspect", "tune""#, r#""control""#, ""),
            ("inspector", r#""create""#, r#""ingest""#, r#""shop""#),
        ] {
            namespace.apply(&role(name, verbs, resources, names));
        }
        for name in [
            "aggregator",
            "viewer",
            "reader",
            "tuner",
            "inspector",
            "prometheus",
            "nobody",
            "bank-inspector",
        ] {
            namespace.account(name).await;
        }
        let authority = Authority::new("celeriac tests");
        authority.sign("server", "127.0.0.1");
        let port = plane.address().port();
        let account = authority.file("account");
        std::fs::create_dir(&account).expect("the folder is writable");
        authority.write("account/ca.crt", &plane.authority());
        let token = namespace.kubectl(&["create", "token", "aggregator"]);
        authority.write("account/token", &token);
        let bed = asking(authority, port).await;
        Self { bed, namespace }
    }

    fn app(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace.name())
    }

    /// A connection of an account, by a token for this audience.
    async fn of(&self, account: &str, audience: &str) -> Known {
        self.bed.with(Some(&self.token(account, audience))).await
    }

    fn token(&self, account: &str, audience: &str) -> String {
        let audience = format!("--audience={audience}");
        let token = self
            .namespace
            .kubectl(&["create", "token", account, &audience]);
        token.trim().to_owned()
    }

    /// A connection of the account `nobody`, by a token as the pod `invented` has it from its kubelet.
    async fn of_pod(&self) -> Known {
        self.namespace.apply(POD);
        let token = self.namespace.kubectl(&[
            "create",
            "token",
            "nobody",
            "--audience=celeriac",
            "--bound-object-kind=Pod",
            "--bound-object-name=invented",
        ]);
        self.bed.with(Some(token.trim())).await
    }
}

/// An aggregator whose API server is on this port of loopback.
async fn asking(authority: Authority, port: u16) -> Bed {
    let account = authority.file("account");
    let arguments = [
        "--auth",
        "kubernetes",
        "--audience",
        "celeriac",
        "--kubernetes-account",
        &account,
    ];
    let environment = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &port.to_string()),
    ];
    Bed::within(authority, &environment, &arguments).await
}

async fn list_tasks(known: &Known, app: &str) -> Result<Vec<v1::Task>, Status> {
    let request = v1::ListTasksRequest {
        app: app.to_owned(),
        view: v1::TaskView::Full.into(),
        ..Default::default()
    };
    let answer = call(
        known,
        "InspectionService/ListTasks",
        &request.encode_to_vec(),
    )
    .await?;
    let answer = v1::ListTasksResponse::decode(answer.as_slice());
    Ok(answer.expect("an answer").tasks)
}

async fn try_command(known: &Known, app: &str, command: Command) -> Result<Vec<u8>, Code> {
    let request = v1::ExecuteCommandRequest {
        app: app.to_owned(),
        all_workers: true,
        validate_only: true,
        command: Some(command),
        ..Default::default()
    };
    let answer = call(
        known,
        "ControlService/ExecuteCommand",
        &request.encode_to_vec(),
    )
    .await;
    answer.map_err(|status| status.code())
}

#[tokio::test]
async fn kubernetes_says_who_bears_a_token_and_what_they_may() {
    let _turn = turn().await;
    let bed = KubeBed::start().await;
    let (shop, planted) = (bed.app("shop"), secret(&bed.app("shop")));
    attach(bed.of("inspector", "celeriac").await, &shop)
        .await
        .expect("its role says so");
    // A token for the API server, or for others, is none for us.
    for audience in ["https://kubernetes.default.svc", "vault"] {
        let status = list_tasks(&bed.of("reader", audience).await, &shop).await;
        assert_eq!(status.expect_err(audience).code(), Code::Unauthenticated);
    }
    let viewed = list_tasks(&bed.of("viewer", "celeriac").await, &shop).await;
    let viewed = viewed.expect("its role says so");
    assert!(!viewed.is_empty() && !format!("{viewed:?}").contains(&planted));
    let read = list_tasks(&bed.of("reader", "celeriac").await, &shop).await;
    assert!(format!("{:?}", read.expect("its role says so")).contains(&planted));
    // Without a name it is all that they may see.
    let all = list_tasks(&bed.of("viewer", "celeriac").await, "").await;
    assert_eq!(
        all.expect("there is an app they may see").len(),
        viewed.len()
    );
    for (who, app) in [
        ("nobody", shop.as_str()),
        ("nobody", ""),
        ("viewer", "default"),
        ("viewer", "/shop"),
        ("viewer", "other/shop"),
    ] {
        let status = list_tasks(&bed.of(who, "celeriac").await, app).await;
        assert_eq!(
            status.expect_err(app).code(),
            Code::PermissionDenied,
            "{who} {app}"
        );
    }
    let tuner = bed.of("tuner", "celeriac").await;
    let grow = Command::PoolGrow(v1::PoolGrowCommand { count: 1 });
    try_command(&tuner, &shop, grow.clone())
        .await
        .expect("its role says so");
    let shutdown = Command::Shutdown(v1::ShutdownCommand {});
    let refused = try_command(&tuner, &shop, shutdown).await;
    assert_eq!(refused, Err(Code::PermissionDenied));
    let viewer = bed.of("viewer", "celeriac").await;
    assert_eq!(
        try_command(&viewer, &shop, grow).await,
        Err(Code::PermissionDenied)
    );
    // An inspector writes of the app that its role names, and of no other of its namespace.
    let forged = open(bed.of("inspector", "celeriac").await, &bed.app("bank")).await;
    assert_eq!(
        forged.map(drop).expect_err("it is another").code(),
        Code::PermissionDenied
    );
    // The operator's account of an inspector needs no role, and has no more than its app.
    let named = bed.of("bank-inspector", "celeriac").await;
    open(named.clone(), &bed.app("bank"))
        .await
        .expect("it is named for it");
    let forged = open(named, &shop).await;
    assert_eq!(
        forged.map(drop).expect_err("it is another").code(),
        Code::PermissionDenied
    );
    for (who, status) in [("prometheus", "HTTP/2 200"), ("reader", "HTTP/2 403")] {
        let token = bed.token(who, "celeriac");
        let answer = page(&bed.bed, "/metrics", &["--oauth2-bearer", &token]);
        assert!(answer.starts_with(status), "{who}: {answer}");
        assert!(!bed.bed.process.log().contains(&token));
    }
}

/// What is told of a worker first, without what begins a snapshot.
async fn watch_worker(known: &Known, app: &str, worker: &str) -> Result<v1::Worker, Status> {
    let request = v1::WatchRequest {
        app: app.to_owned(),
        worker: worker.to_owned(),
        ..Default::default()
    };
    let stream = WatchServiceClient::new(known.clone()).watch(request).await;
    let mut stream = stream?.into_inner();
    loop {
        let message = stream.message().await?.expect("it goes on");
        if let Some(Message::Item(v1::WatchItem { item: Some(item) })) = message.message {
            let v1::watch_item::Item::Worker(worker) = item else {
                panic!("{item:?}");
            };
            return Ok(worker);
        }
    }
}

/// So a sidecar needs no role: its token says which pod it is in.
#[tokio::test]
async fn a_pod_may_watch_the_worker_that_runs_in_it_and_nothing_else() {
    let _turn = turn().await;
    let bed = KubeBed::start().await;
    let (shop, planted) = (bed.app("shop"), secret(&bed.app("shop")));
    attach(bed.of("inspector", "celeriac").await, &shop)
        .await
        .expect("its role says so");
    let pod = bed.of_pod().await;
    let told = watch_worker(&pod, &shop, WORKER).await;
    let told = told.expect("it runs in this pod");
    assert_eq!(told.name, WORKER);
    assert!(!format!("{told:?}").contains(&planted), "{told:?}");
    let unbound = bed.of("nobody", "celeriac").await;
    for (who, known, app, worker) in [
        ("the pod", &pod, shop.as_str(), ""),
        ("the pod", &pod, &shop, "celery@another"),
        ("the pod", &pod, "default", WORKER),
        ("the pod", &pod, "other/shop", WORKER),
        (
            "the same account outside of the pod",
            &unbound,
            &shop,
            WORKER,
        ),
    ] {
        let refused = watch_worker(known, app, worker).await;
        let code = refused.expect_err(who).code();
        assert_eq!(code, Code::PermissionDenied, "{who} {app} {worker}");
    }
    let refused = watch_worker(&pod, "", WORKER).await.expect_err("no app");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = list_tasks(&pod, &shop).await.expect_err("no role");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_stream_ends_within_a_minute_when_its_role_is_taken_away() {
    let _turn = turn().await;
    let bed = KubeBed::start().await;
    let shop = bed.app("shop");
    attach(bed.of("inspector", "celeriac").await, &shop)
        .await
        .expect("its role says so");
    let request = v1::WatchRequest {
        app: shop.clone(),
        ..Default::default()
    };
    let viewer = bed.of("viewer", "celeriac").await;
    let watched = WatchServiceClient::new(viewer).watch(request).await;
    let mut watched = watched.expect("its role says so").into_inner();
    bed.namespace.kubectl(&["delete", "rolebinding", "viewer"]);
    let end = async {
        loop {
            if let Err(status) = watched.message().await {
                return status.code();
            }
        }
    };
    let ended = tokio::time::timeout(ENDS_WITHIN, end).await;
    assert_eq!(ended.expect("it ends"), Code::PermissionDenied);
}

#[tokio::test]
async fn nothing_is_granted_while_kubernetes_does_not_answer() {
    let _turn = turn().await;
    let authority = Authority::new("celeriac tests");
    authority.sign("server", "127.0.0.1");
    std::fs::create_dir(authority.file("account")).expect("the folder is writable");
    authority.write("account/ca.crt", &authority.certificate());
    authority.write("account/token", "planted-account-token");
    let nobody = celeriac_tests::redis::free_address();
    let bed = asking(authority, nobody.port()).await;
    let known = bed.with(Some("planted.token.three")).await;
    let status = list_tasks(&known, "a/b").await.expect_err("nobody can say");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    eventually("the log says why", SOON, async || {
        let log = bed.process.log();
        let told = log.contains("cannot be reached") && !log.contains("planted");
        if told { Ok(()) } else { Err(log) }
    })
    .await;
}
