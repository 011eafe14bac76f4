//! What a worker was told past Celeriac is given back to it; what a person took from it through Celeriac is not.

use celeriac_tests::kube::SOON;
use celeriac_tests::{Redis, eventually, turn};

use crate::scene::Ground;

#[tokio::test]
async fn a_lost_queue_is_given_back_and_one_that_a_person_cancelled_is_not() {
    let _turn = turn().await;
    let ground = Ground::of("consumes").await.queues(&["celery", "mail"]);
    let ground = ground.aggregator("--round=5s");
    let redis = Redis::builder().listen(ground.host()).start();
    let inside = redis.url_of((ground.host(), redis.address().port()).into(), 0);
    let scene = ground.app(&inside, &redis.url(), 1).await;
    let [pod] = &scene.names()[..] else {
        panic!("{:?}", scene.names());
    };
    let consumes = async |queues: &[&str]| {
        eventually(
            &format!("it consumes {queues:?}"),
            SOON,
            async || match scene.consumed(pod) {
                Some(now) if now == queues => Ok(()),
                now => Err(format!("{now:?}: {:?}", scene.events())),
            },
        )
        .await;
    };
    consumes(&["celery", "mail"]).await;
    let worker = format!("celery@{pod}");

    scene.celeriac(&["control", "cancel-consumer", "mail", "--worker", &worker]);
    consumes(&["celery"]).await;
    scene.send(&format!(
        "app.control.cancel_consumer('celery', destination=['{worker}'])"
    ));
    let tasks = scene.send("print(add.delay(1, 2).id)");
    consumes(&["celery"]).await;
    assert_eq!(scene.began(&tasks[0]).await, *pod);
    let told = eventually("it is told", SOON, async || {
        let notes = scene.notes("ConsumerRestored");
        notes.into_iter().next().ok_or("there is no Event")
    })
    .await;
    assert!(
        told.contains(pod.as_str()) && told.contains(": celery;"),
        "{told}"
    );
    assert!(!told.contains("mail"), "{told}");

    // The person's is the person's to take back.
    scene.celeriac(&["control", "add-consumer", "mail", "--worker", &worker]);
    consumes(&["celery", "mail"]).await;
    assert_eq!(scene.notes("ConsumerRestored").len(), 1);
}
