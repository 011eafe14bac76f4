//! One operator acts at a time.

use std::time::Duration;

use celeriac_tests::kube::{Call, SOON};
use celeriac_tests::{eventually, turn};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scene::{app, converged, operator, plane, writes};

/// The one that leads stops for longer than its Lease is good, in the middle of its work, and comes back: by then another leads,
/// and the first writes nothing any more.
#[tokio::test]
async fn who_lost_the_lease_in_the_middle_of_its_work_writes_nothing_more() {
    let _turn = turn().await;
    let plane = plane().await;
    let home = plane.namespace("celeriac").await;
    let namespace = plane.namespace("lease").await;
    let begin = plane.audit().mark();
    let mut first = operator(&plane, &home, "operator").await;
    namespace.apply(&app("shop-a"));
    converged(&mut first, &namespace, &["shop-a"], "example/shop:1.0").await;
    let mut second = operator(&plane, &home, "second").await;
    namespace.apply(&app("shop-b"));
    sleep(Duration::from_millis(150)).await;
    first.process().signal(Signal::SIGSTOP);
    converged(
        &mut second,
        &namespace,
        &["shop-a", "shop-b"],
        "example/shop:1.0",
    )
    .await;
    let audit = plane.audit();
    let by_second = writes(&audit, begin, second.user(), &namespace);
    assert!(
        !by_second.is_empty(),
        "the second has nothing to do with it"
    );

    let mark = audit.mark();
    first.process().signal(Signal::SIGCONT);
    let on_its_way = Timestamp::now() + Duration::from_secs(1);
    namespace.apply(&app("shop-c"));
    let apps = ["shop-a", "shop-b", "shop-c"];
    converged(&mut second, &namespace, &apps, "example/shop:1.0").await;
    eventually(
        "the first has seen that it leads no more",
        SOON,
        async || match first.process().exited() {
            Some(status) => Ok(status),
            None => Err("it runs"),
        },
    )
    .await;
    // A request that was handed to its connection before the stop cannot be taken back; nothing is begun after it.
    let begun = |call: &Call| {
        let came: Timestamp = call.at.parse().expect("the audit log has times");
        came > on_its_way || call.name.starts_with("shop-c")
    };
    let mut late = writes(&audit, mark, first.user(), &namespace);
    late.retain(begun);
    assert_eq!(late, []);
    plane.stop();
}
