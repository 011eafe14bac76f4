//! A pool of real pods, the operator and the aggregator that look after it, and what its tasks tell.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use celeriac_tests::kube::{ControlPlane, Namespace, SOON, condition};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::plane;
use celeriac_tests::product::AggregatorBuilder;
use celeriac_tests::{Aggregator, Celery, Operator, celeriac, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The pool.
pub(crate) const POOL: &str = "shop-w";

/// Where pods run, before there is a broker.
pub(crate) struct Ground {
    namespace: Namespace,
    kubelet: Kubelet,
    queues: Vec<&'static str>,
    aggregator: Vec<&'static str>,
}

/// A running app.
pub(crate) struct Scene {
    aggregator: Aggregator,
    namespace: Namespace,
    #[expect(dead_code, reason = "its pods run as long as this")]
    kubelet: Kubelet,
    celery: Celery,
    operator: Operator,
    spec: Value,
    truth: TempDir,
}

impl Ground {
    pub(crate) async fn of(name: &str) -> Self {
        let namespace = plane().await.namespace(name).await;
        let kubelet = Kubelet::of(&namespace)
            .image("example/shop", Image::celery("5.7"))
            .image("celeriac/inspector", Image::ours("celeriac-inspector"))
            .start()
            .await;
        Self {
            namespace,
            kubelet,
            queues: vec!["celery"],
            aggregator: Vec::new(),
        }
    }

    /// The pool names these queues.
    pub(crate) fn queues(self, queues: &[&'static str]) -> Self {
        let queues = queues.to_vec();
        Self { queues, ..self }
    }

    /// The aggregator is started with this argument.
    pub(crate) fn aggregator(mut self, argument: &'static str) -> Self {
        self.aggregator.push(argument);
        self
    }

    /// This machine's address as its pods see it.
    pub(crate) fn host(&self) -> Ipv4Addr {
        self.kubelet.host()
    }

    /// An app on a broker, by the URL that its pods reach and the one that this machine does, with so many workers that run
    /// one task at a time.
    pub(crate) async fn app(self, inside: &str, outside: &str, workers: u32) -> Scene {
        let Self {
            namespace,
            kubelet,
            queues,
            aggregator: arguments,
        } = self;
        let truth = tempfile::tempdir().expect("the temporary folder is writable");
        std::fs::set_permissions(truth.path(), Permissions::from_mode(0o777)).expect("it is ours");
        let name = format!("{}/shop", namespace.name());
        let builder = Aggregator::builder().broker(&format!("{name}={outside}"));
        let builder = arguments.into_iter().fold(builder, AggregatorBuilder::arg);
        let aggregator = builder.start().await;
        aggregator.subscribed().await;
        namespace.apply(&secret(inside));
        let environment = [
            json!({"name": "DEMO_BROKER", "valueFrom": {"secretKeyRef": {"name": "broker", "key": "url"}}}),
            json!({"name": "DEMO_BACKEND", "value": "cache+memory://"}),
            json!({"name": "DEMO_LOG", "value": "/truth/log"}),
            // Nothing waits in a worker that runs a task.
            json!({"name": "DEMO_OPTIONS", "value": r#"{"task_acks_late": true}"#}),
        ];
        let spec = json!({
            "image": "example/shop:1.0", "appName": "demo",
            "broker": {"type": "external", "secretKeyRef": {"name": "broker", "key": "url"}},
            "workers": [{
                "name": "w", "replicas": workers, "targetQueues": queues, "concurrency": 1,
                "prefetchMultiplier": 1, "env": environment,
                "podTemplate": {"spec": {
                    "containers": [{"name": "celery", "volumeMounts": [{"name": "truth", "mountPath": "/truth"}]}],
                    "volumes": [{"name": "truth", "hostPath": {"path": truth.path()}}],
                }},
            }],
        });
        let asks = format!("http://{}", aggregator.address());
        let arguments = ["--aggregator", &asks, "--namespace", namespace.name()];
        let plane = ControlPlane::started();
        let operator = Operator::start(plane, &namespace, &arguments).await;
        let mut scene = Scene {
            celery: Celery::new("5.7", outside)
                .env("DEMO_BACKEND", "cache+memory://")
                .truth(&truth.path().join("log")),
            namespace,
            kubelet,
            aggregator,
            operator,
            spec,
            truth,
        };
        scene.edit(|_| {});
        scene.consuming(workers as usize).await;
        scene
    }
}

impl Scene {
    /// An operator begins to lead; one that was killed a moment ago does not keep it from that.
    pub(crate) fn lead(&mut self) {
        let lease = ["delete", "lease", "celeriac-operator", "--ignore-not-found"];
        self.namespace.kubectl(&lease);
        self.operator.restart();
    }

    /// The operator is gone, without a word.
    pub(crate) fn kill_operator(&mut self) {
        println!("--- the operator that is killed\n{}", self.operator.log());
        self.operator.kill9();
    }

    /// Changes the pool as the app's `Celery` names it.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.spec["workers"][0]);
        let app = json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"}, "spec": self.spec,
        });
        self.namespace.apply(&app.to_string());
    }

    /// Changes the broker's URL in its Secret, and has the operator look: else it does within a minute.
    pub(crate) fn rotate(&self, inside: &str) {
        self.namespace.apply(&secret(inside));
        let look = ["annotate", "celery,celeryworkers", "--all", "look=again"];
        self.namespace.kubectl(&look);
    }

    /// `kubectl scale` of the pool.
    pub(crate) fn scale(&self, replicas: u32) {
        let replicas = format!("--replicas={replicas}");
        self.namespace
            .kubectl(&["scale", "celeryworker", POOL, &replicas]);
    }

    /// Waits until so many workers consume.
    pub(crate) async fn consuming(&self, count: usize) {
        eventually("workers consume", SOON, async || {
            let workers = self.aggregator.workers().await?;
            let consuming = workers.iter().filter(|worker| {
                let known = worker.inspection.as_ref();
                worker.status() == celeriac_proto::v1::WorkerStatus::Online
                    && known.is_some_and(|known| !known.queues.is_empty())
            });
            let consuming = consuming.count();
            let pods = self.pods().len();
            anyhow::ensure!(
                consuming == count && pods == count,
                "{consuming} of {pods} pods"
            );
            Ok(())
        })
        .await;
    }

    /// The pods of the pool that are not on their way out.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let selector = format!("celeriac.dev/worker={POOL}");
        let text = self
            .namespace
            .kubectl(&["get", "pods", "-l", &selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON was asked for");
        let pods = list["items"].as_array().expect("it is a list").iter();
        let live = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        live.cloned().collect()
    }

    /// The same, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        self.pods().iter().map(name).collect()
    }

    /// An object as JSON.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        self.namespace.get(kind, name).expect("it is there")
    }

    /// How many pods the Deployment is asked for.
    pub(crate) fn replicas(&self) -> u64 {
        let deployment = self.get("deployment", POOL);
        deployment["spec"]["replicas"].as_u64().expect("it is set")
    }

    /// Waits until as many pods are asked for.
    pub(crate) async fn lowered_to(&self, replicas: u64) {
        eventually(
            &format!("lowered to {replicas}"),
            SOON,
            async || match self.replicas() {
                now if now == replicas && self.pods().len() as u64 == replicas => Ok(()),
                now => Err(format!("{now}; {}", self.draining())),
            },
        )
        .await;
    }

    /// The condition `Draining` of the pool.
    pub(crate) fn draining(&self) -> Value {
        condition(&self.get("celeryworker", POOL), "Draining").clone()
    }

    /// The pod whose worker is on its way out, and consumes nothing.
    pub(crate) async fn drained(&self) -> String {
        eventually("a worker consumes no more", SOON, async || {
            let pods = self.pods();
            let marked = pods.iter().find(|pod| is_marked(pod));
            let marked = marked.ok_or_else(|| anyhow::anyhow!("none is marked"))?;
            let name = name(marked);
            let worker = self.aggregator.worker(&format!("celery@{name}")).await?;
            let known = worker.inspection.unwrap_or_default();
            anyhow::ensure!(
                known.queues_known && known.queues.is_empty(),
                "{:?}",
                known.queues
            );
            Ok(name)
        })
        .await
    }

    /// The reasons of the pool's Events.
    pub(crate) fn events(&self) -> BTreeMap<String, usize> {
        let text = self
            .namespace
            .kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON was asked for");
        let mut reasons = BTreeMap::new();
        for event in list["items"].as_array().into_iter().flatten() {
            let reason = event["reason"].as_str().unwrap_or_default();
            *reasons.entry(reason.to_owned()).or_default() += 1;
        }
        reasons
    }

    /// What Events of a reason tell.
    pub(crate) fn notes(&self, reason: &str) -> Vec<String> {
        let get = ["get", "events.events.k8s.io", "-o", "json"];
        let list: Value =
            serde_json::from_str(&self.namespace.kubectl(&get)).expect("JSON was asked for");
        let events = list["items"].as_array().into_iter().flatten();
        let found = events.filter(|event| event["reason"] == reason);
        let note = |event: &Value| event["note"].as_str().unwrap_or_default().to_owned();
        found.map(note).collect()
    }

    /// `celeriac`, as a person uses it.
    pub(crate) fn celeriac(&self, arguments: &[&str]) {
        let output = celeriac(self.aggregator.address(), arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// The queues that the worker of a pod consumes, as it answers Celery's own `inspect`; none when it does not.
    pub(crate) fn consumed(&self, pod: &str) -> Option<Vec<String>> {
        let said = self.celery.run(&format!(
            "import json\nworker = 'celery@{pod}'\n\
             said = app.control.inspect(destination=[worker], timeout=5).active_queues() or {{}}\n\
             queues = said.get(worker)\n\
             print(json.dumps(queues and [queue['name'] for queue in queues]))"
        ));
        let mut queues: Option<Vec<String>> = serde_json::from_str(&said).expect("it prints JSON");
        if let Some(queues) = &mut queues {
            queues.sort();
        }
        queues
    }

    /// Sends tasks by a piece of Python that prints their ids.
    pub(crate) fn send(&self, snippet: &str) -> Vec<String> {
        let sent = self.celery.run(snippet);
        sent.split_whitespace().map(str::to_owned).collect()
    }

    /// A task that runs until it is let go.
    pub(crate) async fn hold(&self) -> (String, String) {
        let id = self.send("print(hold.delay().id)").remove(0);
        let pod = self.began(&id).await;
        (id, pod)
    }

    /// Lets it go.
    pub(crate) fn release(&self, id: &str) {
        std::fs::write(self.log_file().with_extension(id), "").expect("it is our folder");
    }

    fn log_file(&self) -> PathBuf {
        self.truth.path().join("log")
    }

    /// The pod where a task has begun.
    pub(crate) async fn began(&self, id: &str) -> String {
        let worker = eventually("the task has begun", SOON, async || {
            let lines = lines(&self.log_file());
            let mut begun = lines.iter().filter(|line| line["id"] == id);
            let begun = begun.find(|line| line["what"] == "start");
            begun.map(|line| line["worker"].clone()).ok_or("it has not")
        })
        .await;
        let worker = worker.as_str().expect("it is a name");
        worker.trim_start_matches("celery@").to_owned()
    }

    /// Waits until these tasks have ended; each was begun once, and returned once.
    pub(crate) async fn each_ran_once(&self, ids: &[String]) {
        eventually("all have returned", SOON, async || {
            let returned = counted(&self.log_file(), "return");
            let left = ids.iter().filter(|id| !returned.contains_key(*id)).count();
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
        let (begun, returned) = (
            counted(&self.log_file(), "start"),
            counted(&self.log_file(), "return"),
        );
        for id in ids {
            assert_eq!((begun[id], returned[id]), (1, 1), "{id}");
        }
    }
}

/// The Secret with the URL by which pods reach their broker.
fn secret(inside: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "broker"}, "stringData": {"url": inside},
    })
    .to_string()
}

/// A pod's name.
pub(crate) fn name(pod: &Value) -> String {
    pod["metadata"]["name"]
        .as_str()
        .expect("it has one")
        .to_owned()
}

/// Whether a pod's worker is on its way out.
pub(crate) fn is_marked(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["celeriac.dev/drain"].is_string()
}

/// Whether a pod's worker was kept.
pub(crate) fn is_undone(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["celeriac.dev/undone"].is_string()
}

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("tasks write JSON"))
        .collect()
}

fn counted(log: &Path, what: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines(log).iter().filter(|line| line["what"] == what) {
        let id = line["id"].as_str().expect("it is a text");
        *counts.entry(id.to_owned()).or_default() += 1;
    }
    counts
}
