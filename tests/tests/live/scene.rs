//! A control plane that knows our resources, and an operator on it with the aggregator that it asks.

use std::net::SocketAddr;
use std::time::Duration;

use celeriac_tests::kube::{Call, ControlPlane, Mark, Namespace};
use celeriac_tests::paths::{self, Profile, binary};
use celeriac_tests::product::http_get;
use celeriac_tests::redis::free_address;
use celeriac_tests::{Process, eventually};
use serde_json::Value;

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// A running operator of one namespace, under the role that is shipped.
pub(crate) struct Operator {
    #[expect(dead_code, reason = "it ends with this")]
    process: Process,
    plane: &'static ControlPlane,
    user: String,
    pages: SocketAddr,
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
    ) -> Self {
        let role = std::fs::read_to_string(paths::root().join("deploy/rbac/operator.yaml"));
        let role = role.expect("deploy/rbac is there");
        let namespace = format!("namespace: {}", home.name());
        home.apply(&role.replace("namespace: celeriac", &namespace));
        let account = home.account("operator").await;
        let pages = free_address();
        let program = binary(Profile::Debug, "celeriac-operator");
        let process = Process::start("celeriac-operator", &program, |command| {
            command
                .env("KUBECONFIG", account.kubeconfig())
                .args(["run", "--aggregator", aggregator])
                .args(["--namespace", home.name()])
                .args(["--listen", &pages.to_string()]);
        });
        Self {
            process,
            plane,
            user: account.user().to_owned(),
            pages,
        }
    }

    /// The end of the audit log now.
    pub(crate) fn mark(&self) -> Mark {
        self.plane.audit().mark()
    }

    /// What it wrote into a namespace since then; its Lease, which it renews, aside.
    pub(crate) fn writes(&self, mark: Mark, namespace: &Namespace) -> Vec<Call> {
        let calls = self.plane.audit().calls_since(mark).into_iter();
        calls
            .filter(|call| call.user == self.user && call.namespace == namespace.name())
            .filter(|call| call.is_write() && call.resource != "leases")
            .collect()
    }

    /// The sum of a metric over the labels that hold `part`.
    pub(crate) fn metric(&self, name: &str, part: &str) -> u64 {
        let (_, text) = http_get(self.pages, "/metrics").expect("it serves its metrics");
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(part))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

/// An object as JSON, if it is there.
pub(crate) fn get(namespace: &Namespace, kind: &str, name: &str) -> Result<Value, String> {
    let text =
        namespace.try_kubectl(&["get", kind, name, "--show-managed-fields", "-o", "json"])?;
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
            Err(object["status"].to_string())
        }
    })
    .await
}

/// The condition of an object.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|one| one["type"] == type_));
    found.unwrap_or(&Value::Null)
}

/// The words of an object's row.
pub(crate) fn row(namespace: &Namespace, kind: &str, name: &str) -> Vec<String> {
    let row = namespace.kubectl(&["get", kind, name, "--no-headers"]);
    row.split_whitespace().map(str::to_owned).collect()
}
