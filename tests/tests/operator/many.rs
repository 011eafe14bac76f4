//! Five hundred apps (or as many as the variable `APPS` says): how long they take, and what the operator costs and writes when
//! they rest and when all their load changes.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use celeriac_tests::kube::{Call, Mark, Namespace, condition};
use celeriac_tests::operator::plane;
use celeriac_tests::product::AggregatorBuilder;
use celeriac_tests::resp::Connection;
use celeriac_tests::{Aggregator, Operator, Redis, eventually};
use serde_json::{Value, json};

static APPS: LazyLock<usize> = LazyLock::new(|| {
    let said = std::env::var("APPS").ok();
    said.map_or(500, |said| said.parse().expect("APPS is a number"))
});

/// How long all of them may take on a busy machine.
const LONG: Duration = Duration::from_mins(30);

/// What the live writer may write in a second (`operator/src/live.rs`).
const WRITES_A_SECOND: usize = 20;

/// Of them at a time (there too).
const UNDER_WAY: usize = 4;

fn app(redis: &Redis, number: usize) -> String {
    let url = redis.url_db(u32::try_from(number).expect("a few hundred"));
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": format!("app-{number}")},
        "spec": {
            "image": "example/shop:1.0", "appName": "shop",
            "broker": {"type": "external", "brokerAddress": url},
            "workers": [{"name": "default", "targetQueues": ["celery"], "concurrency": 2}],
        },
    })
    .to_string()
}

/// Has messages wait in every app, another number of them than before, in some none.
fn waiting(redis: &mut Connection) {
    let mut run = |command: &[&str]| redis.command(command).expect("redis answers");
    for database in 0..*APPS {
        run(&["SELECT", &database.to_string()]);
        run(&["DEL", "celery"]);
        let messages = vec!["m"; fastrand::usize(0..64)];
        if !messages.is_empty() {
            run(&[&["RPUSH", "celery"], messages.as_slice()].concat());
        }
    }
}

/// By hand: `cargo test -p celeriac-tests --test operator -- --ignored --nocapture five_hundred`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes and both processors: 500 apps, a minute at rest and a minute of load"]
async fn five_hundred_apps_rest_without_a_write_and_share_twenty_a_second() {
    let plane = plane().await;
    let namespace = plane.namespace("many").await;
    let all = *APPS;
    let redis = Redis::builder().config(&format!("databases {all}")).start();
    let mut connection = redis.connect().expect("redis answers");
    let aggregator = watching(&mut connection, &redis, &namespace);
    waiting(&mut connection);
    let aggregator = aggregator.start().await;
    let asks = format!("http://{}", aggregator.address());
    let mut operator = Operator::start(plane, &namespace, &["--aggregator", &asks]).await;

    let (began, mark) = (Instant::now(), operator.mark());
    let apps: Vec<String> = (0..all).map(|number| app(&redis, number)).collect();
    namespace.apply(&apps.join("\n---\n"));
    println!("{all} apps were applied after {:.0?}", began.elapsed());
    eventually("all have their parts and their status", LONG, async || {
        // On a machine that is too busy it can lose its Lease, and is started again as a kubelet would.
        if operator.keep() {
            println!("the operator had ended after {:.0?}", began.elapsed());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        made(&namespace)
    })
    .await;
    println!(
        "all had their parts and their status after {:.0?}",
        began.elapsed()
    );
    reconciles(&operator);
    tells(&mut operator, &namespace, mark, "making them", began, 0.0);

    rested(&mut operator, &namespace).await;

    let (began, mark) = (Instant::now(), operator.mark());
    let used = operator.process().cpu_seconds();
    while began.elapsed() < Duration::from_mins(1) {
        waiting(&mut connection);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let what = "all load changes";
    let writes = tells(&mut operator, &namespace, mark, what, began, used);
    // They are spread when they are sent; what a busy server kept waiting falls into the next second of its clock.
    let most = writes.values().max();
    let bound = WRITES_A_SECOND + UNDER_WAY;
    assert!(most.is_none_or(|most| *most <= bound), "{writes:?}");
}

/// Prints how many reconciles an app took, since the operator was started.
fn reconciles(operator: &Operator) {
    for kind in ["Celery", "CeleryBroker", "CeleryWorker", "CeleryScheduler"] {
        let label = format!("{{kind=\"{kind}\"}}");
        let count = operator.metric("celeriac_operator_reconciles_total", &label);
        let count = u32::try_from(count).expect("a few thousand");
        let apps = u32::try_from(*APPS).expect("a few hundred");
        println!(
            "{kind}: {:.1} reconciles an app",
            f64::from(count) / f64::from(apps)
        );
    }
}

/// Waits until nothing is written any more, and then for a minute in which nothing is.
async fn rested(operator: &mut Operator, namespace: &Namespace) {
    let mut mark = operator.mark();
    eventually("the operator has written all it has to", LONG, async || {
        tokio::time::sleep(Duration::from_secs(35)).await;
        let writes = operator.writes(mark, namespace).len();
        mark = operator.mark();
        if writes == 0 { Ok(()) } else { Err(writes) }
    })
    .await;
    let (began, mark) = (Instant::now(), operator.mark());
    let used = operator.process().cpu_seconds();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let writes = tells(operator, namespace, mark, "at rest", began, used);
    assert_eq!(writes, BTreeMap::new());
}

/// An aggregator for all apps, with a queue in each as Celery leaves it: that is how one without workers is found.
fn watching(
    connection: &mut Connection,
    redis: &Redis,
    namespace: &Namespace,
) -> AggregatorBuilder {
    let bound = "celery\u{6}\u{16}\u{6}\u{16}celery";
    let mut aggregator = Aggregator::builder();
    for number in 0..*APPS {
        let (database, bound) = (number.to_string(), ["SADD", "_kombu.binding.celery", bound]);
        for command in [&["SELECT", &database][..], &bound] {
            connection.command(command).expect("redis answers");
        }
        let url = redis.url_db(u32::try_from(number).expect("a few hundred"));
        aggregator = aggregator.broker(&format!("{}/app-{number}={url}", namespace.name()));
    }
    aggregator
}

/// Whether every app has its parts, and a status of what it is and of what happens now.
fn made(namespace: &Namespace) -> Result<(), String> {
    for (kind, each) in [
        ("celerybrokers", 1),
        ("celeryworkers", 1),
        ("deployments", 2),
        ("poddisruptionbudgets", 1),
    ] {
        let there = namespace.names(kind).len();
        if there != each * *APPS {
            return Err(format!("{there} {kind}"));
        }
    }
    let all = namespace.kubectl(&["get", "celeries,celeryworkers,celerybrokers", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).map_err(|error| error.to_string())?;
    let said = |object: &&Value| {
        let live = if object["kind"] == "CeleryBroker" {
            "Reachable"
        } else {
            "Observed"
        };
        !condition(object, "Ready").is_null() && condition(object, live)["status"] == "True"
    };
    match all["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(said)
        .count()
    {
        said if said == 3 * *APPS => Ok(()),
        said => Err(format!("{said} statuses")),
    }
}

/// Prints what the operator did and cost since then; its status writes by second.
fn tells(
    operator: &mut Operator,
    namespace: &Namespace,
    mark: Mark,
    what: &str,
    began: Instant,
    used: f64,
) -> BTreeMap<String, usize> {
    let seconds = began.elapsed().as_secs_f64();
    let used = operator.process().cpu_seconds() - used;
    let calls = operator.calls(mark, namespace);
    let (writes, reads): (Vec<&Call>, Vec<&Call>) = calls.iter().partition(|call| call.is_write());
    let mut by_second = BTreeMap::new();
    for call in writes
        .iter()
        .filter(|call| call.resource.ends_with("/status"))
    {
        *by_second.entry(call.at[..19].to_owned()).or_default() += 1;
    }
    let statuses: usize = by_second.values().sum();
    println!(
        "{what}: {seconds:.0} s, operator {used:.1} CPU-s and {} MiB; {} reads, {} writes, {statuses} of them of a status, \
         at most {} in a second of the clock",
        operator.process().resident_bytes() >> 20,
        reads.len(),
        writes.len(),
        by_second.values().max().unwrap_or(&0),
    );
    by_second
}
