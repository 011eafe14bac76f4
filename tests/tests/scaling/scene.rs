//! A control plane that knows our resources, an operator on it with the aggregator that it asks, and pools that it scales.

use celeriac_tests::Operator;
use celeriac_tests::kube::{ControlPlane, Mark, Namespace, condition};
use serde_json::{Value, json};

/// An operator that looks after a namespace, has its Lease there, and asks that aggregator.
pub(crate) async fn operator(
    plane: &ControlPlane,
    home: &Namespace,
    aggregator: &str,
    arguments: &[&str],
) -> Operator {
    let own = ["--aggregator", aggregator, "--namespace", home.name()];
    Operator::start(plane, home, &[&own, arguments].concat()).await
}

/// What an operator asked of a pool's scale since then, in order.
pub(crate) fn asked(
    operator: &Operator,
    namespace: &Namespace,
    mark: Mark,
    pool: &str,
) -> Vec<i64> {
    let calls = operator.writes(mark, namespace).into_iter();
    calls
        .filter(|call| call.resource == "celeryworkers/scale" && call.name == pool)
        .filter(|call| call.code == 200)
        .filter_map(|call| call.body["spec"]["replicas"].as_i64())
        .collect()
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

/// A pool once its scaling is for that reason.
pub(crate) async fn because(namespace: &Namespace, pool: &str, truth: &str, reason: &str) -> Value {
    let what = format!("{pool} is {truth} {reason}");
    namespace
        .once("celeryworker", pool, &what, |object| {
            let scaling = condition(object, "Scaling");
            scaling["status"] == truth && scaling["reason"] == reason
        })
        .await
}

/// Changes fields of a pool.
pub(crate) fn patch(namespace: &Namespace, pool: &str, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    namespace.kubectl(&["patch", "celeryworker", pool, "--type=merge", "-p", &patch]);
}
