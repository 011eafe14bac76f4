//! A running operator, as its own ServiceAccount under the role that is shipped, and looks at what it makes.

use std::time::Duration;

use celeriac_tests::kube::{Call, ControlPlane, Mark, Namespace};
use celeriac_tests::paths::{self, Profile, binary};
use celeriac_tests::{Process, eventually};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::scene::plane;

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(2);

static OPERATOR: OnceCell<Operator> = OnceCell::const_new();

/// The operator that the tests of this binary share.
pub(crate) struct Operator {
    pub(crate) process: Process,
    pub(crate) plane: &'static ControlPlane,
    pub(crate) user: String,
}

/// The operator, running.
pub(crate) async fn operator() -> &'static Operator {
    OPERATOR.get_or_init(start).await
}

async fn start() -> Operator {
    let plane = plane().await;
    let home = plane.namespace("celeriac").await;
    let role = std::fs::read_to_string(paths::root().join("deploy/rbac/operator.yaml"));
    let role = role.expect("deploy/rbac is there");
    let namespace = format!("namespace: {}", home.name());
    home.apply(&role.replace("namespace: celeriac", &namespace));
    let account = home.account("operator").await;
    let program = binary(Profile::Debug, "celeriac-operator");
    let process = Process::start("celeriac-operator", &program, |command| {
        command.env("KUBECONFIG", account.kubeconfig()).args([
            "run",
            "--aggregator",
            "http://aggregator.celeriac.svc:5555",
        ]);
    });
    Operator {
        process,
        plane,
        user: account.user().to_owned(),
    }
}

impl Operator {
    /// A namespace for a test.
    pub(crate) async fn namespace(&self, name: &str) -> Namespace {
        self.plane.namespace(name).await
    }

    /// What the operator asked of a namespace since then.
    pub(crate) fn calls(&self, mark: Mark, namespace: &Namespace) -> Vec<Call> {
        let calls = self.plane.audit().calls_since(mark).into_iter();
        calls
            .filter(|call| call.user == self.user && call.namespace == namespace.name())
            .collect()
    }

    /// The same, writes only.
    pub(crate) fn writes(&self, mark: Mark, namespace: &Namespace) -> Vec<Call> {
        let calls = self.calls(mark, namespace).into_iter();
        calls.filter(Call::is_write).collect()
    }
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
            Err(object.to_string())
        }
    })
    .await
}

/// Names of the objects of a kind.
pub(crate) fn names(namespace: &Namespace, kind: &str) -> Vec<String> {
    let text = namespace.kubectl(&["get", kind, "-o", "name"]);
    let mut names: Vec<String> = text
        .lines()
        .map(|line| line.rsplit('/').next().unwrap_or(line).to_owned())
        .collect();
    names.sort();
    names
}

/// The condition of an object.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|one| one["type"] == type_));
    found.unwrap_or(&Value::Null)
}

/// Plays the kubelet for a moment: every pod of the namespace runs and is ready.
pub(crate) fn run_pods(namespace: &Namespace) {
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    for pod in names(namespace, "pods") {
        // One that was replaced meanwhile needs none.
        let patch = [
            "patch",
            "pod",
            &pod,
            "--subresource=status",
            "--type=merge",
            "-p",
            ready,
        ];
        let _ = namespace.try_kubectl(&patch);
    }
}

/// Waits until the operator has nothing more to do in a namespace. That no aggregator answers is said some seconds after
/// everything else.
pub(crate) async fn quiet(operator: &Operator, namespace: &Namespace) {
    eventually("it is said what is known", SOON, async || {
        let all = namespace.kubectl(&["get", "celeries,celeryworkers", "-o", "json"]);
        let all: Value = serde_json::from_str(&all).map_err(|error| error.to_string())?;
        let mut all = all["items"].as_array().into_iter().flatten();
        match all.find(|object| condition(object, "Observed").is_null()) {
            None => Ok(()),
            Some(object) => Err(object["status"].to_string()),
        }
    })
    .await;
    let mut mark = operator.plane.audit().mark();
    eventually("the operator has written all it has to", SOON, async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let writes = operator.writes(mark, namespace);
        mark = operator.plane.audit().mark();
        if writes.is_empty() {
            Ok(())
        } else {
            Err(format!("{writes:?}"))
        }
    })
    .await;
}
