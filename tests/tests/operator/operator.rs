//! The operator that the tests of this binary share, and pods without a kubelet.

use std::time::Duration;

use celeriac_tests::kube::{ControlPlane, Namespace, SOON, condition};
use celeriac_tests::operator::plane;
use celeriac_tests::{Operator, eventually};
use serde_json::Value;
use tokio::sync::OnceCell;

static OPERATOR: OnceCell<Operator> = OnceCell::const_new();

/// The control plane and the operator on it, running.
pub(crate) async fn operator() -> (&'static ControlPlane, &'static Operator) {
    let plane = plane().await;
    let operator = OPERATOR.get_or_init(async || {
        let home = plane.namespace("celeriac").await;
        let aggregator = "http://aggregator.celeriac.svc:5555";
        Operator::start(plane, &home, &["--aggregator", aggregator]).await
    });
    (plane, operator.await)
}

/// Plays the kubelet for a moment: every pod of the namespace runs and is ready.
pub(crate) fn run_pods(namespace: &Namespace) {
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    for pod in namespace.names("pods") {
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
    let mut mark = operator.mark();
    eventually("the operator has written all it has to", SOON, async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let writes = operator.writes(mark, namespace);
        mark = operator.mark();
        if writes.is_empty() {
            Ok(())
        } else {
            Err(format!("{writes:?}"))
        }
    })
    .await;
}
