//! Which sidecars a pool has, and what replaces them: its own changes, never an operator's.

use celeriac_tests::kube::Namespace;
use celeriac_tests::operator::plane;
use celeriac_tests::{Operator, turn};
use serde_json::{Value, json};

use crate::scene::POOL;

fn app(pool: &Value) -> String {
    let mut worker = json!({"name": "w", "replicas": 1, "concurrency": 1});
    for (field, value) in pool.as_object().expect("it is one") {
        worker[field] = value.clone();
    }
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
        "spec": {
            "image": "example/shop:1.0", "appName": "shop", "inspector": {"enabled": false},
            "broker": {"type": "external", "brokerAddress": "redis://nowhere/0"}, "workers": [worker],
        },
    })
    .to_string()
}

fn sidecar(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["initContainers"][0]
}

async fn has_image(namespace: &Namespace, image: &str) -> Value {
    namespace
        .once("deployment", POOL, image, |deployment| {
            sidecar(deployment)["image"] == image
        })
        .await
}

#[tokio::test]
async fn a_new_operator_brings_no_new_sidecar_until_the_pool_changes_or_asks_and_a_pool_may_have_none()
 {
    // The role is bound to one operator at a time.
    let _turn = turn().await;
    let plane = plane().await;
    let namespace = plane.namespace("pins").await;
    let arguments = |image| {
        let aggregator = "http://aggregator.celeriac.svc:5555";
        let place = ["--aggregator", aggregator, "--namespace", namespace.name()];
        [&place[..], &["--inspector-image", image]].concat()
    };
    let mut operator = Operator::start(plane, &namespace, &arguments("inspector:1")).await;
    namespace.apply(&app(&json!({})));
    let before = has_image(&namespace, "inspector:1").await;
    let template = before["spec"]["template"].clone();
    let pin = |pool: &Value| pool["status"]["sidecar"]["image"].clone();
    namespace
        .once("celeryworker", POOL, "it is kept in the status", |pool| {
            pin(pool) == "inspector:1"
        })
        .await;

    operator.restart_with(&arguments("inspector:2"));
    // It looked at the pool: how many workers there are is the only change.
    namespace.apply(&app(&json!({"replicas": 2})));
    let after = namespace
        .once("deployment", POOL, "it has more workers", |deployment| {
            deployment["spec"]["replicas"] == 2
        })
        .await;
    assert_eq!(after["spec"]["template"], template);

    let annotate = |value: &str| {
        let annotation = format!("celeriac.dev/refresh-sidecar={value}");
        namespace.kubectl(&["annotate", "--overwrite", "celeryworker", POOL, &annotation]);
    };
    annotate("1");
    has_image(&namespace, "inspector:2").await;
    operator.restart_with(&arguments("inspector:3"));
    namespace.apply(&app(&json!({"replicas": 2, "timeLimit": 60})));
    let changed = has_image(&namespace, "inspector:3").await;
    let deadline = sidecar(&changed)["env"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["name"] == "CELERIAC_INSPECTOR_DRAIN_DEADLINE")
        .map(|one| one["value"].clone());
    assert_eq!(
        deadline,
        Some(json!("90s")),
        "30 s before the grace period ends"
    );

    namespace.apply(&app(&json!({"sidecar": {"enabled": false}})));
    let bare = namespace
        .once("deployment", POOL, "it has none", |deployment| {
            sidecar(deployment).is_null()
        })
        .await;
    let worker = &bare["spec"]["template"]["spec"]["containers"][0];
    for gone in ["livenessProbe", "readinessProbe", "lifecycle"] {
        assert!(worker[gone].is_null(), "{gone}: {worker}");
    }
    namespace
        .once("celeryworker", POOL, "its status says so", |pool| {
            pin(pool).is_null()
        })
        .await;
    namespace.apply(&app(&json!({})));
    has_image(&namespace, "inspector:3").await;
}

#[tokio::test]
async fn a_token_is_the_pools_own_and_goes_with_it() {
    let _turn = turn().await;
    let plane = plane().await;
    let namespace = plane.namespace("tokens").await;
    let arguments = [
        "--aggregator",
        "http://aggregator:5555",
        "--namespace",
        namespace.name(),
    ];
    let _operator = Operator::start(plane, &namespace, &arguments).await;
    let token = async || {
        let deployment = namespace
            .once("deployment", POOL, "it has a sidecar", |deployment| {
                sidecar(deployment)["name"] == "sidecar"
            })
            .await;
        let worker = &deployment["spec"]["template"]["spec"]["containers"][0];
        let header = &worker["lifecycle"]["preStop"]["httpGet"]["httpHeaders"][0];
        assert_eq!(header["name"], "X-Celeriac-Drain-Token");
        header["value"].as_str().expect("it has a token").to_owned()
    };
    namespace.apply(&app(&json!({})));
    let first = token().await;
    assert!(first.len() >= 32, "{first}");
    let secret = namespace
        .get("secret", "shop-w-sidecar")
        .expect("it is there");
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&json!("CeleryWorker"), &json!(POOL))
    );
    // At once again under the same name: the old token goes with the old pool, and the new pool has another.
    namespace.kubectl(&["delete", "celery", "shop", "--timeout=90s"]);
    namespace.apply(&app(&json!({})));
    let second = token().await;
    assert_ne!(first, second);
}
