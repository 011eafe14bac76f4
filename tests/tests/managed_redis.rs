//! A Redis that the operator runs, whose password is changed while tasks wait and run: real pods, a real Redis and real workers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use celeriac_tests::kube::{ControlPlane, Namespace, condition};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::{broker_url, plane};
use celeriac_tests::resp::Connection;
use celeriac_tests::{Celery, Operator, eventually, turn};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Seconds that the tasks take, sixty of them.
const TIMES: &str = "[6] * 6 + [3] * 9 + [1] * 10 + [0.5] * 15 + [0.1] * 20";

/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_mins(4);

/// With characters that a URL has to escape.
const NEW: &str = "n3w/p@ss";
const NEW_IN_URL: &str = "n3w%2Fp%40ss";

/// An app on a Redis of its own: two workers, beat and inspector; and a program of somebody else that reads the same Secret.
struct Scene {
    namespace: Namespace,
    kubelet: Kubelet,
    operator: Operator,
    celery: Celery,
    truth: TempDir,
    /// The password that was made with the Redis.
    old: String,
}

impl Scene {
    async fn start() -> Self {
        let plane = plane().await;
        let namespace = plane.namespace("redis").await;
        let kubelet = Kubelet::of(&namespace)
            .image("example/shop", Image::celery("5.7"))
            .image("valkey/valkey", Image::system(&[]))
            .image("celeriac/inspector", Image::ours("celeriac-inspector"))
            .start()
            .await;
        // Nobody has to hear what the inspector says.
        let arguments = ["--aggregator", "http://127.0.0.1:9", "--namespace"];
        let arguments = [&arguments[..], &[namespace.name()]].concat();
        let operator = Operator::start(ControlPlane::started(), &namespace, &arguments).await;
        let truth = tempfile::tempdir().expect("the temporary folder is writable");
        std::fs::set_permissions(truth.path(), Permissions::from_mode(0o777)).expect("it is ours");
        namespace.apply(&app(&truth));
        let mut scene = Self {
            celery: Celery::new("5.7", ""),
            old: String::new(),
            namespace,
            kubelet,
            operator,
            truth,
        };
        scene.once("it is ready", LONG, Self::is_ready).await;
        scene.namespace.apply(&web());
        let runs = |scene: &Self| match &scene.namespace.get("pod", "web")?["status"]["phase"] {
            phase if phase == "Running" => Ok(()),
            other => Err(other.to_string()),
        };
        scene.once("another program runs", LONG, runs).await;
        let url = broker_url(&scene.namespace, "shop");
        let old = url.trim_start_matches("redis://:").split_once('@');
        old.expect("it holds a password")
            .0
            .clone_into(&mut scene.old);
        scene.celery = sender(&url, &scene.truth);
        scene
    }

    fn is_ready(&self) -> Result<(), String> {
        let app = self.namespace.get("celery", "shop")?;
        match condition(&app, "Ready") {
            ready if ready["status"] == "True" => Ok(()),
            other => Err(format!("{other}\n{}", self.says())),
        }
    }

    /// Waits for something. An operator that loses its Lease on a machine that is too busy is started again, as a kubelet would.
    async fn once(
        &mut self,
        what: &str,
        limit: Duration,
        look: impl Fn(&Self) -> Result<(), String>,
    ) {
        eventually(what, limit, async || {
            self.operator.keep();
            look(self)
        })
        .await;
    }

    /// Sends tasks by a piece of Python that prints their ids.
    fn send(&self, snippet: &str) -> Vec<String> {
        let sent = self.celery.run(snippet);
        sent.split_whitespace().map(str::to_owned).collect()
    }

    /// How often each task did this, as it wrote itself.
    fn counted(&self, what: &str) -> BTreeMap<String, u32> {
        let log = std::fs::read_to_string(self.truth.path().join("log")).unwrap_or_default();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("tasks write JSON"));
        let mut counts = BTreeMap::new();
        for line in lines.filter(|line| line["what"] == what) {
            let id = line["id"].as_str().expect("it is a text");
            *counts.entry(id.to_owned()).or_default() += 1;
        }
        counts
    }

    /// Waits until these tasks have ended; each was begun once, and returned once.
    async fn each_ran_once(&mut self, ids: &[String]) {
        let returned = |scene: &Self| {
            let returned = scene.counted("return");
            match ids.iter().filter(|id| !returned.contains_key(*id)).count() {
                0 => Ok(()),
                left => Err(format!("{left} have not")),
            }
        };
        self.once("all have returned", LONG, returned).await;
        let (begun, returned) = (self.counted("start"), self.counted("return"));
        for id in ids {
            assert_eq!((begun[id], returned[id]), (1, 1), "{id}");
        }
    }

    /// Changes the password, and has the operator look: else it does within a minute.
    fn rotate(&self) {
        let url = format!(
            "redis://:{NEW_IN_URL}@shop-broker.{}.svc:6379/0",
            self.namespace.name()
        );
        let change = json!({"stringData": {"password": NEW, "url": url}}).to_string();
        let secret = ["patch", "secret", "shop-broker-auth", "--type=merge", "-p"];
        self.namespace.kubectl(&[&secret[..], &[&change]].concat());
        self.look();
    }

    fn look(&self) {
        let kinds = "celery,celerybrokers,celeryworkers,celeryschedulers";
        let stamp = format!("look={:x}", fastrand::u64(..));
        self.namespace
            .kubectl(&["annotate", "--overwrite", kinds, "--all", &stamp]);
    }

    /// Whether the server takes a password.
    fn is_taken(&self, password: &str) -> Result<bool, String> {
        let pod = self.namespace.get("pod", "shop-broker-0")?;
        let address = pod["status"]["podIP"].as_str().ok_or("no address")?;
        let address = format!("{address}:6379").parse().expect("it is an address");
        let text = |error: anyhow::Error| error.to_string();
        let mut connection = Connection::open(address).map_err(text)?;
        match connection.command(&["AUTH", password]) {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("WRONGPASS") => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn takes(&mut self, old: bool, new: bool) {
        let what = format!("the old password is taken: {old}, the new one: {new}");
        let takes = |scene: &Self| match (scene.is_taken(&scene.old)?, scene.is_taken(NEW)?) {
            taken if taken == (old, new) => Ok(()),
            other => Err(format!("{other:?}, {}", scene.says())),
        };
        self.once(&what, LONG, takes).await;
    }

    /// What is said of the broker.
    fn says(&self) -> String {
        let broker = self.namespace.get("celerybroker", "shop-broker");
        let log = self.kubelet.log("shop-broker-0", "redis");
        broker.map_or_else(
            |error| error,
            |broker| format!("{}\n{log}", condition(&broker, "Ready")),
        )
    }

    /// Identities of the app's pods but the server's.
    fn pods(&self) -> BTreeSet<String> {
        let selector = "celeriac.dev/app=shop,!celeriac.dev/broker";
        let pods = self
            .namespace
            .kubectl(&["get", "pods", "-l", selector, "-o", "json"]);
        let pods: Value = serde_json::from_str(&pods).expect("JSON was asked for");
        let pods = pods["items"].as_array().into_iter().flatten();
        pods.map(|pod| pod["metadata"]["uid"].to_string()).collect()
    }

    fn server(&self) -> (Value, Option<u32>) {
        let pod = self.namespace.get("pod", "shop-broker-0");
        let uid = pod.expect("it is there")["metadata"]["uid"].clone();
        (uid, self.kubelet.pid("shop-broker-0", "redis"))
    }
}

/// Who sends tasks from this machine.
fn sender(url: &str, truth: &TempDir) -> Celery {
    Celery::new("5.7", url)
        .env("DEMO_BACKEND", "cache+memory://")
        .truth(&truth.path().join("log"))
}

fn app(truth: &TempDir) -> String {
    let url = json!({"secretKeyRef": {"name": "shop-broker-auth", "key": "url"}});
    let environment = json!([
        {"name": "DEMO_BROKER", "valueFrom": url},
        {"name": "DEMO_BACKEND", "value": "cache+memory://"},
        {"name": "DEMO_LOG", "value": "/truth/log"},
        // Nothing waits in a worker that runs a task.
        {"name": "DEMO_OPTIONS", "value": r#"{"task_acks_late": true}"#},
    ]);
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
        "spec": {
            "image": "example/shop:1.0", "appName": "demo",
            "broker": {"type": "redis"},
            "schedulers": [{"name": "beat", "env": environment}],
            "workers": [{
                "name": "w", "replicas": 2, "targetQueues": ["celery"], "concurrency": 1, "prefetchMultiplier": 1,
                "env": environment,
                "podTemplate": {"spec": {
                    "containers": [{"name": "celery", "volumeMounts": [{"name": "truth", "mountPath": "/truth"}]}],
                    "volumes": [{"name": "truth", "hostPath": {"path": truth.path()}}],
                }},
            }],
        },
    })
    .to_string()
}

/// A program that is none of the operator's.
fn web() -> String {
    let url = json!({"secretKeyRef": {"name": "shop-broker-auth", "key": "url"}});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "web", "image": "valkey/valkey:8.1-alpine", "command": ["sleep", "100000"],
            "env": [{"name": "BROKER", "valueFrom": url}],
        }]},
    })
    .to_string()
}

#[tokio::test]
async fn a_managed_redis_takes_both_passwords_until_no_pod_has_the_old_one() {
    let _turn = turn().await;
    let mut scene = Scene::start().await;
    let (before, server) = (scene.pods(), scene.server());
    assert_eq!(before.len(), 4, "two workers, beat and inspector");

    let sent = scene.send(&format!("print(*[nap.delay(time).id for time in {TIMES}])"));
    let begun = |scene: &Scene| match scene.counted("start") {
        begun if sent[..2].iter().all(|long| begun.contains_key(long)) => Ok(()),
        begun => Err(format!("{begun:?}")),
    };
    scene.once("two long ones run", LONG, begun).await;
    scene.rotate();
    scene.takes(true, true).await;
    let replaced = |scene: &Scene| match scene.pods() {
        now if now.len() == 4 && now.is_disjoint(&before) => Ok(()),
        now => Err(format!("{now:?}, before {before:?}; {}", scene.says())),
    };
    scene
        .once("the app's pods are replaced", LONG, replaced)
        .await;
    scene.each_ran_once(&sent).await;
    assert_eq!(scene.server(), server, "it was not started again");

    // Only somebody else's has the old one now, and keeps it.
    let awaited = |scene: &Scene| {
        let broker = scene.namespace.get("celerybroker", "shop-broker")?;
        let ready = condition(&broker, "Ready");
        let message = ready["message"].as_str().unwrap_or_default();
        if ready["reason"] == "PasswordChanges" && message.ends_with(": web") {
            Ok(())
        } else {
            Err(ready.to_string())
        }
    };
    scene.once("one pod is awaited", LONG, awaited).await;
    scene.takes(true, true).await;
    let delete = |scene: &Scene, pod| {
        let words = ["delete", "pod", pod, "--timeout=100s"];
        scene.namespace.kubectl(&words);
    };
    delete(&scene, "shop-broker-0");
    scene.takes(true, true).await;
    assert_ne!(scene.server(), server, "it is another");

    delete(&scene, "web");
    scene.look();
    scene.takes(false, true).await;
    let settled = |scene: &Scene| {
        let broker = scene.namespace.get("celerybroker", "shop-broker")?;
        match &condition(&broker, "Ready")["reason"] {
            reason if reason == "RedisRuns" => Ok(()),
            other => Err(other.to_string()),
        }
    };
    scene.once("it is settled", LONG, settled).await;
    scene.celery = sender(&broker_url(&scene.namespace, "shop"), &scene.truth);
    let after = scene.send("print(*[add.delay(1, 2).id for _ in range(6)])");
    scene.each_ran_once(&after).await;
    nobody_else_knows(&scene);
}

/// Neither password is anywhere but in the Secret.
fn nobody_else_knows(scene: &Scene) {
    let kinds = "pods,statefulsets,deployments,celeries,celerybrokers,celeryworkers,events";
    let objects = scene.namespace.kubectl(&["get", kinds, "-o", "json"]);
    let logs = [
        scene.operator.log(),
        scene.kubelet.log("shop-broker-0", "redis"),
    ];
    let commands: Vec<String> = std::fs::read_dir("/proc")
        .expect("it is there")
        .filter_map(|process| std::fs::read(process.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect();
    for password in [scene.old.as_str(), NEW, NEW_IN_URL] {
        assert!(!objects.contains(password));
        assert!(logs.iter().all(|log| !log.contains(password)));
        assert!(commands.iter().all(|line| !line.contains(password)));
    }
}
