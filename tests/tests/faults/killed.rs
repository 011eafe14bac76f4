//! The operator ends at any moment.

use std::time::Duration;

use celeriac_tests::kube::SOON;
use celeriac_tests::{eventually, turn};
use tokio::time::sleep;

use crate::scene::{app, converged, created, operator, plane, settled, told, versions};

/// Killed while apps are made, and while they are edited: everything is made once, nothing is missing, and who starts over what is
/// as it should be changes nothing.
#[tokio::test]
async fn killed_at_any_moment_it_makes_everything_once_and_starts_over_without_a_change() {
    let _turn = turn().await;
    let plane = plane().await;
    let home = plane.namespace("celeriac").await;
    let namespace = plane.namespace("killed").await;
    let mark = plane.audit().mark();
    let mut operator = operator(&plane, &home, "operator").await;
    let apps = ["shop-a", "shop-b"];
    for (round, app_name) in apps.iter().enumerate() {
        let before = created(&plane.audit(), mark, operator.user()).len();
        namespace.apply(&app(app_name));
        // A Lease of one who was killed is over 15 s after it was renewed last.
        eventually("it has begun with the app", SOON, async || {
            let now = created(&plane.audit(), mark, operator.user()).len();
            if now > before + 2 * round {
                Ok(())
            } else {
                Err("nothing is made yet")
            }
        })
        .await;
        operator.restart();
    }
    converged(&mut operator, &namespace, &apps, "example/shop:1.0").await;
    for app_name in apps {
        namespace.apply(&app(app_name).replace("shop:1.0", "shop:1.1"));
    }
    sleep(Duration::from_millis(300)).await;
    operator.restart();
    converged(&mut operator, &namespace, &apps, "example/shop:1.1").await;
    let twice: Vec<_> = created(&plane.audit(), mark, operator.user())
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    assert_eq!(twice, []);

    told(&namespace).await;
    settled(&plane.audit(), operator.user(), &namespace).await;
    let before = versions(&namespace);
    operator.restart();
    let mark = operator.mark();
    // It has the Lease again when it looks at objects again. What it applied before it has forgotten: it applies everything once,
    // which the API server finds to be as it is.
    eventually(
        "it looks at everything again",
        SOON,
        async || match operator.calls(mark, &namespace).len() {
            0 => Err("nothing is asked"),
            _ => Ok(()),
        },
    )
    .await;
    settled(&plane.audit(), operator.user(), &namespace).await;
    assert_eq!(versions(&namespace), before);
    plane.stop();
}
