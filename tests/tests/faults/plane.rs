//! The control plane fails.

use std::time::{Duration, Instant};

use celeriac_tests::turn;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scene::{app, converged, operator, plane, settled, writes};

/// The API server is away for a while in the middle of the work, then etcd answers late for half a minute: in the end
/// everything is there once, and then it is quiet.
#[tokio::test]
async fn api_server_restarted_and_etcd_slow_in_the_middle_of_the_work() {
    let _turn = turn().await;
    let mut plane = plane().await;
    let home = plane.namespace("celeriac").await;
    let namespace = plane.namespace("broken").await;
    let mut operator = operator(&plane, &home, "operator").await;
    namespace.apply(&app("shop-a"));
    namespace.apply(&app("shop-b"));
    sleep(Duration::from_millis(500)).await;
    plane.kill_api_server();
    sleep(Duration::from_secs(4)).await;
    plane.start_api_server().await;
    converged(
        &mut operator,
        &namespace,
        &["shop-a", "shop-b"],
        "example/shop:1.0",
    )
    .await;

    namespace.apply(&app("shop-c"));
    let begin = Instant::now();
    let mut stops = 0;
    while begin.elapsed() < Duration::from_secs(30) {
        plane.signal_etcd(Signal::SIGSTOP);
        sleep(Duration::from_millis(1_500)).await;
        plane.signal_etcd(Signal::SIGCONT);
        sleep(Duration::from_millis(500)).await;
        operator.keep();
        stops += 1;
    }
    assert!(stops > 5, "etcd was not slow");
    let apps = ["shop-a", "shop-b", "shop-c"];
    converged(&mut operator, &namespace, &apps, "example/shop:1.0").await;
    settled(&plane.audit(), operator.user(), &namespace).await;
    plane.stop();
}

/// Somebody else writes into what is the operator's, by force, again and again: it is put right each time, with a bounded
/// number of writes, and nobody's own fields are lost.
#[tokio::test]
async fn who_writes_into_its_fields_by_force_is_corrected_without_a_storm() {
    let _turn = turn().await;
    let plane = plane().await;
    let home = plane.namespace("celeriac").await;
    let namespace = plane.namespace("conflict").await;
    let mut operator = operator(&plane, &home, "operator").await;
    namespace.apply(&app("shop"));
    converged(&mut operator, &namespace, &["shop"], "example/shop:1.0").await;
    settled(&plane.audit(), operator.user(), &namespace).await;
    let mark = operator.mark();
    for _ in 0..5 {
        namespace.kubectl(&["set", "image", "deployment/shop-mail", "*=other:1"]);
        namespace.kubectl(&["scale", "deployment/shop-mail", "--replicas=7"]);
        namespace.kubectl(&[
            "annotate",
            "--overwrite",
            "deployment/shop-mail",
            "theirs=kept",
        ]);
        converged(&mut operator, &namespace, &["shop"], "example/shop:1.0").await;
        let back = |object: &serde_json::Value| object["spec"]["replicas"] == 1;
        let deployment = namespace
            .once("deployment", "shop-mail", "it is one again", back)
            .await;
        assert_eq!(deployment["metadata"]["annotations"]["theirs"], "kept");
    }
    settled(&plane.audit(), operator.user(), &namespace).await;
    let all = writes(&plane.audit(), mark, operator.user(), &namespace);
    let of_deployments = all
        .iter()
        .filter(|call| call.resource.starts_with("deployments"))
        .count();
    // Each change of its generation, by them (two) or by us (template and replicas), may be followed by one apply, and one sets the
    // replicas; that is six for each of the five rounds.
    assert!(
        (5..=30).contains(&of_deployments),
        "{of_deployments}: {all:#?}"
    );
    plane.stop();
}
