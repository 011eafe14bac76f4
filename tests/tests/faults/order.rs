//! Things are deleted in every order.

use celeriac_tests::kube::SOON;
use celeriac_tests::{eventually, turn};

use crate::scene::{app, converged, operator, plane};

/// Namespace first, while the operator is away; broker first; a pool first: every deletion ends, and what an app still wants
/// comes back.
#[tokio::test]
async fn every_order_of_deletion_ends() {
    let _turn = turn().await;
    let plane = plane().await;
    let home = plane.namespace("celeriac").await;
    let mut operator = operator(&plane, &home, "operator").await;
    let namespace = plane.namespace("parts").await;
    namespace.apply(&app("shop"));
    converged(&mut operator, &namespace, &["shop"], "example/shop:1.0").await;

    // Parts go, and come back, since the app wants them.
    for part in [
        "celerybroker/shop-broker",
        "celeryworker/shop-mail",
        "celeryscheduler/shop-beat",
    ] {
        let (kind, name) = part.split_once('/').expect("kind/name");
        let uid = |object: &serde_json::Value| object["metadata"]["uid"].clone();
        let before = namespace
            .get(kind, name)
            .map(|object| uid(&object))
            .expect("it is there");
        namespace.kubectl(&["delete", part, "--timeout=60s"]);
        namespace
            .once(kind, name, "it comes back", |object| uid(object) != before)
            .await;
    }
    converged(&mut operator, &namespace, &["shop"], "example/shop:1.0").await;

    // The broker first, and then the app.
    namespace.kubectl(&["delete", "celerybroker/shop-broker", "--wait=false"]);
    namespace.kubectl(&["delete", "celery/shop", "--timeout=90s"]);
    eventually("nothing of it is left", SOON, async || {
        let left = namespace.kubectl(&[
            "get",
            "deployments,statefulsets,celerybrokers",
            "-o",
            "name",
        ]);
        if left.trim().is_empty() {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;

    // A namespace goes while the operator is away: it waits for the finalizer, and ends when there is an operator again.
    let gone = plane.namespace("gone").await;
    gone.apply(&app("shop"));
    converged(&mut operator, &gone, &["shop"], "example/shop:1.0").await;
    operator.kill9();
    let name = gone.name().to_owned();
    plane
        .administrator()
        .kubectl(&["delete", "namespace", &name, "--wait=false"]);
    operator.restart();
    eventually("the namespace is gone", SOON * 2, async || {
        operator.keep();
        match plane
            .administrator()
            .try_kubectl(&["get", "namespace", &name])
        {
            Err(error) if error.contains("NotFound") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    plane.stop();
}
