//! What is decided, and what keeps it from being done. No kubelet runs: pods are Pending, and nobody takes a message.

use std::time::Duration;

use celeriac_tests::kube::{Call, Mark, Namespace, condition};
use celeriac_tests::operator::plane;
use celeriac_tests::{Aggregator, Celery, Operator, Redis, eventually, turn};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::scene::{asked, because, operator, patch, pool, shop};

/// Pools that are woken one after the other.
const POOLS: usize = 24;

/// What the budget of the design is, 2 s, and what a machine may add that does ten things besides.
const REACTION_MAX: f64 = 5.0;

fn name(number: usize) -> String {
    format!("mail-{number}")
}

#[tokio::test]
async fn a_message_wakes_a_pool_and_what_forbids_it_is_said() {
    let _turn = turn().await;
    let plane = plane().await;
    let namespace = plane.namespace("decides").await;
    let redis = Redis::start();
    let app = format!("{}/shop", namespace.name());
    let mut aggregator = Aggregator::on(&format!("{app}={}", redis.url())).await;
    let address = format!("http://{}", aggregator.address());
    let mut operator = operator(plane, &namespace, &address, &[]).await;
    namespace.apply(&shop(&redis.url(), &json!([])));
    // No event of a sender names a queue, and no worker has ever made one.
    let quiet = json!({"task_send_sent_event": false});
    let celery = Celery::new("5.7", &redis.url()).settings(&quiet);
    let native = json!({"replicas": 0, "scaling": {"mode": "native", "min": 0, "max": 3}});
    let pools: Vec<String> = (0..POOLS)
        .map(|number| pool(&name(number), &redis.url(), &native))
        .collect();
    namespace.apply(&pools.join("\n---\n"));
    for number in 0..POOLS {
        because(&namespace, &name(number), "True", "NothingToDo").await;
    }

    is_left_alone(&operator, &namespace).await;
    wakes(&operator, &namespace, &celery).await;
    let held = is_held(&operator, &namespace, &celery).await;
    another_scales(&operator, &namespace, &celery).await;
    is_let_go(&operator, &namespace, held).await;
    changes_hands(&operator, &namespace, &redis).await;
    not_on_old_numbers(&operator, &namespace, &celery, &mut aggregator).await;
    a_new_leader_begins_with_what_there_is(&mut operator, &namespace, &celery).await;
}

/// Sends tasks to a queue.
fn send(celery: &Celery, queue: &str, count: usize) {
    celery.run(&format!(
        "[nap.apply_async((1,), queue='{queue}') for _ in range({count})]"
    ));
}

/// Nothing changes, nothing is written.
async fn is_left_alone(operator: &Operator, namespace: &Namespace) {
    let mut mark = operator.mark();
    eventually(
        "all that had to be is written",
        Duration::from_mins(2),
        async || {
            tokio::time::sleep(Duration::from_secs(15)).await;
            let writes = operator.writes(mark, namespace);
            mark = operator.mark();
            if writes.is_empty() {
                Ok(())
            } else {
                Err(format!("{writes:?}"))
            }
        },
    )
    .await;
    let object = namespace
        .get("celeryworker", &name(0))
        .expect("it is there");
    let message = condition(&object, "Scaling")["message"].as_str();
    assert_eq!(message, Some("nothing is waiting, running or to come"));
}

/// From a message to a patched Deployment, of as many pools as there are, each at its own time.
async fn wakes(operator: &Operator, namespace: &Namespace, celery: &Celery) {
    let mark = operator.mark();
    let sent = celery.run(&format!(
        "import time\nfor number in range({POOLS}):\n    print(time.time())\n    \
         nap.apply_async((1,), queue=f'mail-{{number}}')\n    time.sleep(0.3 + number * 0.37 % 1)"
    ));
    let sent: Vec<f64> = sent
        .split_whitespace()
        .map(|time| time.parse().expect("seconds"))
        .collect();
    assert_eq!(sent.len(), POOLS);
    let patched = eventually(
        "all Deployments are asked for",
        Duration::from_mins(1),
        async || {
            let writes = operator.writes(mark, namespace);
            let patched: Vec<Option<f64>> = (0..POOLS)
                .map(|number| first_patch(&writes, &name(number)))
                .collect();
            patched
                .iter()
                .copied()
                .collect::<Option<Vec<f64>>>()
                .ok_or_else(|| format!("{patched:?}"))
        },
    )
    .await;
    let mut took: Vec<f64> = patched
        .iter()
        .zip(&sent)
        .map(|(patched, sent)| patched - sent)
        .collect();
    took.sort_by(f64::total_cmp);
    let last = took[POOLS - 1];
    println!(
        "message → Deployment patched, {POOLS} pools: p50 {:.2} s, p99 {last:.2} s (the slowest)",
        took[POOLS / 2]
    );
    assert!(last <= REACTION_MAX, "{took:?}");
}

/// When a Deployment was first asked for pods.
fn first_patch(writes: &[Call], name: &str) -> Option<f64> {
    let asked = writes.iter().find(|call| {
        call.resource == "deployments"
            && call.name == name
            && call.code == 200
            && call.body["spec"]["replicas"].as_i64() > Some(0)
    })?;
    let at: Timestamp = asked.at.parse().expect("a time");
    Some(at.as_duration().as_secs_f64())
}

/// A HorizontalPodAutoscaler on the pool, or on the Deployment of any: it is named, and nothing is done until it is gone.
async fn another_scales(operator: &Operator, namespace: &Namespace, celery: &Celery) {
    let autoscaler = |name: &str, api: &str, kind: &str, target: &str| {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
            "spec": {
                "maxReplicas": 2, "scaleTargetRef": {"apiVersion": api, "kind": kind, "name": target},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {
                    "type": "Utilization", "averageUtilization": 50}}}],
            },
        })
        .to_string()
    };
    let of_pool = autoscaler("theirs", "celeriac.dev/v1alpha1", "CeleryWorker", &name(0));
    namespace.apply(&of_pool);
    let object = because(namespace, &name(0), "False", "OtherAutoscaler").await;
    let message = condition(&object, "Scaling")["message"].to_string();
    assert!(
        message.contains("HorizontalPodAutoscaler theirs"),
        "{message}"
    );
    let mark = operator.mark();
    send(celery, &name(0), 20);
    // Another pool's work is seen, this one's is not acted on.
    send(celery, &name(1), 20);
    grows(namespace, &name(1), 3).await;
    assert_eq!(
        asked(operator, namespace, mark, &name(0)),
        Vec::<i64>::new()
    );
    namespace.kubectl(&["delete", "horizontalpodautoscaler", "theirs"]);
    grows(namespace, &name(0), 3).await;

    patch(
        namespace,
        &name(2),
        &json!({"scaling": {"mode": "fixed", "min": null, "max": null}}),
    );
    namespace
        .once("celeryworker", &name(2), "nothing is decided", |object| {
            condition(object, "Scaling").is_null()
        })
        .await;
    namespace.apply(&autoscaler("wrong", "apps/v1", "Deployment", &name(2)));
    let object = because(namespace, &name(2), "False", "OtherAutoscaler").await;
    let message = condition(&object, "Scaling")["message"].to_string();
    assert!(message.contains("the Deployment of this pool"), "{message}");
    namespace.kubectl(&["delete", "horizontalpodautoscaler", "wrong"]);
    namespace
        .once(
            "celeryworker",
            &name(2),
            "nothing is said any more",
            |object| condition(object, "Scaling").is_null(),
        )
        .await;
}

async fn grows(namespace: &Namespace, pool: &str, replicas: i64) -> Value {
    let what = format!("{pool} is asked for {replicas}");
    namespace
        .once("deployment", pool, &what, |object| {
            object["spec"]["replicas"] == replicas
        })
        .await
}

/// A dry run and a pause: what would be done is said,
async fn is_held(operator: &Operator, namespace: &Namespace, celery: &Celery) -> Mark {
    let mark = operator.mark();
    patch(namespace, &name(3), &json!({"scaling": {"dryRun": true}}));
    patch(namespace, &name(4), &json!({"scaling": {"paused": true}}));
    namespace.kubectl(&[
        "annotate",
        "celeryworker",
        &name(5),
        "celeriac.dev/paused=true",
    ]);
    for (number, reason) in [(3, "DryRun"), (4, "Paused"), (5, "Paused")] {
        because(namespace, &name(number), "False", reason).await;
    }
    for number in [3, 4, 5] {
        send(celery, &name(number), 20);
    }
    mark
}

/// and done when it may be.
async fn is_let_go(operator: &Operator, namespace: &Namespace, mark: Mark) {
    let what = "it says what would be";
    namespace
        .once("celeryworker", &name(3), what, |object| {
            condition(object, "Scaling")["message"] == "dry run: it would be 3 replicas"
        })
        .await;
    for number in [3, 4, 5] {
        assert_eq!(
            asked(operator, namespace, mark, &name(number)),
            Vec::<i64>::new()
        );
    }
    patch(namespace, &name(3), &json!({"scaling": {"dryRun": null}}));
    patch(namespace, &name(4), &json!({"scaling": {"paused": false}}));
    namespace.kubectl(&["annotate", "celeryworker", &name(5), "celeriac.dev/paused-"]);
    for number in [3, 4, 5] {
        grows(namespace, &name(number), 3).await;
    }
}

/// Whoever scales a pool begins with what there is.
async fn changes_hands(operator: &Operator, namespace: &Namespace, redis: &Redis) {
    let app = |scaling: Value, replicas: i32| {
        let pool = json!({
            "name": "hands", "replicas": replicas, "concurrency": 1, "targetQueues": ["hands"], "scaling": scaling,
        });
        shop(&redis.url(), &json!([pool]))
    };
    namespace.apply(&app(json!({}), 2));
    grows(namespace, "shop-hands", 2).await;
    let mark = operator.mark();
    let native = json!({"mode": "native", "min": 0, "max": 3});
    namespace.apply(&app(native, 2));
    // Nothing is to do, and two are there: they stay for a whole window.
    let object = because(namespace, "shop-hands", "True", "Watching").await;
    assert_eq!(object["spec"]["replicas"], 2);
    let before = namespace
        .get("celeryworker", &name(6))
        .expect("it is there");
    patch(
        namespace,
        &name(6),
        &json!({"scaling": {"mode": "external", "min": null, "max": null}}),
    );
    namespace
        .once("celeryworker", &name(6), "it is another's", |object| {
            condition(object, "Scaling").is_null()
        })
        .await;
    let object = namespace
        .get("celeryworker", &name(6))
        .expect("it is there");
    assert_eq!(object["spec"]["replicas"], before["spec"]["replicas"]);
    assert_eq!(
        asked(operator, namespace, mark, "shop-hands"),
        Vec::<i64>::new()
    );
    namespace.apply(&app(json!({}), 2));
    namespace
        .once(
            "celeryworker",
            "shop-hands",
            "it is its owner's",
            |object| condition(object, "Scaling").is_null() && object["spec"]["replicas"] == 2,
        )
        .await;
    let writes = operator.writes(mark, namespace);
    let lowered = writes.iter().find(|call| {
        call.name == "shop-hands"
            && call.body["spec"]["replicas"]
                .as_i64()
                .is_some_and(|to| to != 2)
    });
    assert_eq!(lowered, None);
}

/// Without the aggregator nothing is done, and that is said; with it again what is needed comes, and nobody goes.
async fn not_on_old_numbers(
    operator: &Operator,
    namespace: &Namespace,
    celery: &Celery,
    aggregator: &mut Aggregator,
) {
    aggregator.kill9();
    let mark = operator.mark();
    let object = because(namespace, &name(7), "False", "Stale").await;
    let message = condition(&object, "Scaling")["message"].to_string();
    assert!(
        message.contains("nothing is done on old numbers"),
        "{message}"
    );
    send(celery, &name(7), 20);
    aggregator.restart().await;
    grows(namespace, &name(7), 3).await;
    because(namespace, &name(8), "True", "NoTaskTime").await;
    assert_eq!(asked(operator, namespace, mark, &name(7)), [3]);
    assert_eq!(
        asked(operator, namespace, mark, &name(8)),
        Vec::<i64>::new()
    );
    let events = namespace.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
    for words in ["ScaledUp", "workers 0→", "Stale"] {
        assert!(events.contains(words), "no Event says {words}: {events}");
    }
    println!(
        "{}",
        namespace.kubectl(&["get", "celeryworkers", "-o", "wide"])
    );
}

/// Another operator knows nothing of what was wanted before: it adds, and takes nobody away.
async fn a_new_leader_begins_with_what_there_is(
    operator: &mut Operator,
    namespace: &Namespace,
    celery: &Celery,
) {
    let mark = operator.mark();
    operator.restart();
    send(celery, &name(9), 20);
    grows(namespace, &name(9), 3).await;
    for number in (0..POOLS).filter(|number| *number != 9) {
        assert_eq!(
            asked(operator, namespace, mark, &name(number)),
            Vec::<i64>::new()
        );
    }
}
