//! A control plane that knows our resources, an operator on it with the aggregator that it asks, and pools that it scales.

use std::time::Duration;

use celeriac_tests::kube::{Access, Call, ControlPlane, Mark, Namespace};
use celeriac_tests::paths::{self, Profile, binary};
use celeriac_tests::{Process, eventually};
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// A running operator of one namespace, under the role that is shipped.
pub(crate) struct Operator {
    process: Process,
    account: Access,
    plane: &'static ControlPlane,
    home: String,
    arguments: Vec<String>,
}

/// The control plane, once it knows our resources.
pub(crate) async fn plane() -> &'static ControlPlane {
    let plane = ControlPlane::shared().await;
    let folder = paths::root().join("deploy/crds");
    let folder = folder.to_str().expect("a path in ASCII");
    let administrator = plane.administrator();
    administrator.kubectl(&["apply", "--server-side", "-f", folder]);
    administrator.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "-f",
        folder,
    ]);
    plane
}

impl Operator {
    /// One that looks after a namespace, has its Lease there, and asks that aggregator.
    pub(crate) async fn of(
        plane: &'static ControlPlane,
        home: &Namespace,
        aggregator: &str,
        arguments: &[&str],
    ) -> Self {
        let role = std::fs::read_to_string(paths::root().join("deploy/rbac/operator.yaml"));
        let role = role.expect("deploy/rbac is there");
        let namespace = format!("namespace: {}", home.name());
        home.apply(&role.replace("namespace: celeriac", &namespace));
        let account = home.account("operator").await;
        let mut all = vec![
            "run",
            "--aggregator",
            aggregator,
            "--namespace",
            home.name(),
        ];
        all.extend(arguments);
        let arguments: Vec<String> = all.into_iter().map(str::to_owned).collect();
        Self {
            process: launch(&account, &arguments),
            account,
            plane,
            home: home.name().to_owned(),
            arguments,
        }
    }

    /// Kills it and starts it again.
    pub(crate) fn restart(&mut self) {
        self.process.kill9();
        self.process = launch(&self.account, &self.arguments);
    }

    /// The end of the audit log now.
    pub(crate) fn mark(&self) -> Mark {
        self.plane.audit().mark()
    }

    /// What it wrote since then; its Lease, which it renews, aside.
    pub(crate) fn writes(&self, mark: Mark) -> Vec<Call> {
        let calls = self.plane.audit().calls_since(mark).into_iter();
        calls
            .filter(|call| call.user == self.account.user() && call.namespace == self.home)
            .filter(|call| call.is_write() && call.resource != "leases")
            .collect()
    }

    /// What it asked of a pool's scale since then, in order.
    pub(crate) fn asked(&self, mark: Mark, pool: &str) -> Vec<i64> {
        let calls = self.writes(mark).into_iter();
        calls
            .filter(|call| call.resource == "celeryworkers/scale" && call.name == pool)
            .filter(|call| call.code == 200)
            .filter_map(|call| call.body["spec"]["replicas"].as_i64())
            .collect()
    }
}

fn launch(account: &Access, arguments: &[String]) -> Process {
    let program = binary(Profile::Debug, "celeriac-operator");
    Process::start("celeriac-operator", &program, |command| {
        command
            .env("KUBECONFIG", account.kubeconfig())
            .args(arguments);
    })
}

/// An app on a broker that is there already, with these pools.
pub(crate) fn shop(url: &str, workers: &Value) -> String {
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
        "spec": {
            "image": "example/shop:1.0", "appName": "demo",
            "broker": {"type": "external", "brokerAddress": url},
            "workers": workers,
        },
    })
    .to_string()
}

/// A pool of its own that belongs to that app.
pub(crate) fn pool(name: &str, url: &str, more: &Value) -> String {
    let mut object = json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "CeleryWorker", "metadata": {"name": name},
        "spec": {
            "image": "example/shop:1.0", "appName": "demo", "broker": {"address": url}, "celeryRef": {"name": "shop"},
            "concurrency": 1, "targetQueues": [name],
        },
    });
    for (field, value) in more.as_object().expect("fields") {
        object["spec"][field] = value.clone();
    }
    object.to_string()
}

/// An object as JSON, if it is there.
pub(crate) fn get(namespace: &Namespace, kind: &str, name: &str) -> Result<Value, String> {
    let text = namespace.try_kubectl(&["get", kind, name, "-o", "json"])?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// An object, once a look at it finds what is wanted.
pub(crate) async fn once(
    namespace: &Namespace,
    kind: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    eventually(what, SOON, async || {
        let object = get(namespace, kind, name)?;
        if wanted(&object) {
            Ok(object)
        } else {
            let replicas = &object["spec"]["replicas"];
            Err(format!("{replicas} replicas, {}", object["status"]))
        }
    })
    .await
}

/// A pool once its scaling is for that reason.
pub(crate) async fn because(namespace: &Namespace, pool: &str, truth: &str, reason: &str) -> Value {
    let what = format!("{pool} is {truth} {reason}");
    once(namespace, "celeryworker", pool, &what, |object| {
        let scaling = condition(object, "Scaling");
        scaling["status"] == truth && scaling["reason"] == reason
    })
    .await
}

/// The condition of an object.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|one| one["type"] == type_));
    found.unwrap_or(&Value::Null)
}

/// Changes fields of a pool.
pub(crate) fn patch(namespace: &Namespace, pool: &str, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    namespace.kubectl(&["patch", "celeryworker", pool, "--type=merge", "-p", &patch]);
}
