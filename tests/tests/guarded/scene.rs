//! A pool of one real worker with its sidecar, the operator that made it, and the aggregator that both ask.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use celeriac_tests::kube::{ControlPlane, Namespace, SOON};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::plane;
use celeriac_tests::paths::{Profile, binary};
use celeriac_tests::product::http_get;
use celeriac_tests::redis::free_address;
use celeriac_tests::{Authority, Celery, Operator, Process, Redis, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The pool, and its containers.
pub(crate) const POOL: &str = "shop-w";
pub(crate) const WORKER: &str = "celery";
pub(crate) const SIDECAR: &str = "sidecar";

/// A running app.
pub(crate) struct Scene {
    pub(crate) namespace: Namespace,
    pub(crate) kubelet: Kubelet,
    pub(crate) redis: Redis,
    pub(crate) celery: Celery,
    pub(crate) aggregator: Asked,
    truth: TempDir,
    _operator: Operator,
}

/// An aggregator that serves whoever the control plane knows, as the chart's does.
pub(crate) struct Asked {
    address: SocketAddr,
    authority: Authority,
    data: TempDir,
    app: String,
    plane: SocketAddr,
    process: Option<Process>,
}

/// It may ask the control plane who somebody is.
const DELEGATOR: &str = r#"
{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
 "metadata": {"name": "NAMESPACE-delegator"},
 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
 "subjects": [{"kind": "ServiceAccount", "name": "aggregator", "namespace": "NAMESPACE"}]}"#;

impl Asked {
    /// One that is reached at this address of the machine, not started.
    async fn new(plane: &ControlPlane, namespace: &Namespace, app: &str, host: Ipv4Addr) -> Self {
        plane
            .administrator()
            .apply(&DELEGATOR.replace("NAMESPACE", namespace.name()));
        namespace.account("aggregator").await;
        let authority = Authority::new("celeriac tests");
        authority.sign("server", &host.to_string());
        let account = authority.file("account");
        std::fs::create_dir(&account).expect("the folder is writable");
        authority.write("account/ca.crt", &plane.authority());
        let token = namespace.kubectl(&["create", "token", "aggregator"]);
        authority.write("account/token", &token);
        Self {
            address: (host, free_address().port()).into(),
            data: tempfile::tempdir().expect("the temporary folder is writable"),
            authority,
            app: app.to_owned(),
            plane: plane.address(),
            process: None,
        }
    }

    /// Starts it, again if it was killed.
    pub(crate) fn start(&mut self) {
        let program = binary(Profile::Debug, "celeriac-aggregator");
        let process = Process::start("celeriac-aggregator", program, |command| {
            command
                .env("CELERIAC_AGGREGATOR_BROKER", &self.app)
                .env("KUBERNETES_SERVICE_HOST", self.plane.ip().to_string())
                .env("KUBERNETES_SERVICE_PORT", self.plane.port().to_string())
                .args(["--listen", &self.address.to_string(), "--data-dir"])
                .arg(self.data.path())
                .args([
                    "--round",
                    "5s",
                    "--auth",
                    "kubernetes",
                    "--audience",
                    "celeriac",
                ])
                .args(["--kubernetes-account", &self.authority.file("account")])
                .args(["--tls-cert", &self.authority.file("server.crt")])
                .args(["--tls-key", &self.authority.file("server.key")]);
        });
        self.process = Some(process);
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill9(&mut self) {
        self.process = None;
    }
}

impl Scene {
    /// An app whose pool is what `change` makes of the usual one: one worker that runs one task and holds up to three more.
    pub(crate) async fn of(name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let plane = plane().await;
        let namespace = plane.namespace(name).await;
        let kubelet = Kubelet::of(&namespace)
            .image("example/shop", Image::celery("5.7"))
            .image("celeriac/inspector", Image::ours("celeriac-inspector"))
            .start()
            .await;
        let redis = Redis::builder().listen(kubelet.host()).start();
        let inside = redis.url_of((kubelet.host(), redis.address().port()).into(), 0);
        let truth = tempfile::tempdir().expect("the temporary folder is writable");
        std::fs::set_permissions(truth.path(), Permissions::from_mode(0o777)).expect("it is ours");
        let app = format!("{}/shop={}", namespace.name(), redis.url());
        let mut aggregator = Asked::new(plane, &namespace, &app, kubelet.host()).await;
        aggregator.start();
        let url = format!("https://{}", aggregator.address);
        let authority = aggregator.authority.file("ca.crt");
        let arguments = [
            ["--aggregator", &url],
            ["--namespace", namespace.name()],
            ["--aggregator-ca", &authority],
            ["--aggregator-audience", "celeriac"],
        ];
        let operator = Operator::start(plane, &namespace, arguments.as_flattened()).await;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "broker"}, "stringData": {"url": inside},
        });
        namespace.apply(&secret.to_string());
        namespace.apply(&app_of(
            truth.path().to_str().expect("a path in ASCII"),
            change,
        ));
        Self {
            celery: Celery::new("5.7", &redis.url()).env("DEMO_BACKEND", "cache+memory://"),
            namespace,
            kubelet,
            redis,
            aggregator,
            truth,
            _operator: operator,
        }
    }

    /// Waits until one pod of the pool is there that is not on its way out, and `what` of it `holds`.
    pub(crate) async fn once(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, async || {
            let pods = self.pods();
            let mut pods = pods
                .iter()
                .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
            let found = pods.find(|pod| holds(pod)).cloned();
            found.ok_or_else(|| json!(self.pods()).to_string())
        })
        .await
    }

    /// Its pods, those on their way out among them.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let selector = format!("celeriac.dev/worker={POOL}");
        let text = self
            .namespace
            .kubectl(&["get", "pods", "-l", &selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON was asked for");
        list["items"].as_array().expect("it is a list").clone()
    }

    /// Holds for so long, at each look.
    pub(crate) async fn stays(&self, what: &str, long: Duration, holds: impl Fn(&Value) -> bool) {
        let until = Instant::now() + long;
        while Instant::now() < until {
            let pods = self.pods();
            assert_eq!(pods.len(), 1, "{what}");
            assert!(holds(&pods[0]), "{what}: {}", pods[0]["status"]);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// What a page of a pod's sidecar answers.
    pub(crate) fn page(pod: &Value, page: &str) -> std::io::Result<(u16, String)> {
        let address = pod["status"]["podIP"].as_str().unwrap_or_default();
        let address: Ipv4Addr = address.parse().map_err(std::io::Error::other)?;
        http_get(SocketAddr::from((address, 9810)), page)
    }

    /// Sends tasks by a piece of Python that prints their ids.
    pub(crate) fn send(&self, snippet: &str) -> Vec<String> {
        let sent = self.celery.run(snippet);
        sent.split_whitespace().map(str::to_owned).collect()
    }

    /// A file of the folder that the pool's pods share with this test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.truth.path().join(name)
    }

    /// Lets a task go that is held.
    pub(crate) fn release(&self, task: &str) {
        std::fs::write(self.file(&format!("log.{task}")), "").expect("it is our folder");
    }

    /// Who noted `what` of a task, and how often.
    pub(crate) fn noted(&self, task: &str, what: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines = text.lines();
        let lines =
            lines.map(|line| serde_json::from_str::<Value>(line).expect("tasks write JSON"));
        let told = lines.filter(|line| line["id"] == task && line["what"] == what);
        told.map(|line| line["worker"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Waits until a task noted that.
    pub(crate) async fn notes(&self, task: &str, what: &str) {
        eventually(&format!("a task notes {what}"), SOON, async || {
            if self.noted(task, what).is_empty() {
                Err("it has not")
            } else {
                Ok(())
            }
        })
        .await;
    }
}

fn app_of(truth: &str, change: impl FnOnce(&mut Value)) -> String {
    let environment = [
        json!({"name": "DEMO_BROKER", "valueFrom": {"secretKeyRef": {"name": "broker", "key": "url"}}}),
        json!({"name": "DEMO_BACKEND", "value": "cache+memory://"}),
        json!({"name": "DEMO_LOG", "value": "/truth/log"}),
    ];
    let mut pool = json!({
        "name": "w", "replicas": 1, "targetQueues": ["celery"], "concurrency": 1, "prefetchMultiplier": 4,
        "env": environment,
        "podTemplate": {"spec": {
            "containers": [{"name": WORKER, "volumeMounts": [{"name": "truth", "mountPath": "/truth"}]}],
            "volumes": [{"name": "truth", "hostPath": {"path": truth}}],
        }},
    });
    change(&mut pool);
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
        "spec": {
            "image": "example/shop:1.0", "appName": "demo", "inspector": {"enabled": false},
            "broker": {"type": "external", "secretKeyRef": {"name": "broker", "key": "url"}},
            "workers": [pool],
        },
    })
    .to_string()
}

/// A pod's name.
pub(crate) fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().expect("it has one")
}

/// Whether its condition Ready is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    celeriac_tests::kube::condition(pod, "Ready")["status"] == "True"
}

/// The status of one of its containers.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let status = &pod["status"];
    let lists = [
        &status["containerStatuses"],
        &status["initContainerStatuses"],
    ];
    let mut all = lists
        .into_iter()
        .flat_map(|list| list.as_array().into_iter().flatten());
    all.find(|one| one["name"] == name).unwrap_or(&Value::Null)
}
