//! The chart and the README's sample of a pool that scales: from zero when there are tasks, and back when there are none.

use std::collections::BTreeSet;
use std::time::Instant;

use celeriac_tests::kube::{ControlPlane, Namespace, SOON, condition};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::broker_url;
use celeriac_tests::{Celery, eventually, paths};

use crate::{TURN, chart, helm, restricted};

/// The pool of `deploy/samples/scaled.yaml`.
const POOL: &str = "reports-nightly";

#[tokio::test]
async fn what_helm_installs_scales_the_sample_from_zero_and_back() {
    let _turn = TURN.lock().await;
    let home = restricted("celeriac").await;
    let live = ControlPlane::started().namespace("reports").await;
    let kubelet = Kubelet::of(&home)
        .also(&live)
        .image("celeriac/operator", Image::ours("celeriac-operator"))
        .image("celeriac/aggregator", Image::ours("celeriac-aggregator"))
        .image("celeriac/inspector", Image::ours("celeriac-inspector"))
        .image("valkey/valkey", Image::system(&[]))
        .image("example/reports", Image::celery("5.7"))
        .start()
        .await;
    // Five minutes are for production: nobody waits for them here.
    let window = "--set=operator.scaleDownWindowSeconds=15";
    let chart = chart("celeriac");
    let words = [
        "install",
        "celeriac",
        &chart,
        window,
        "--wait",
        "--timeout=4m",
    ];
    let installed = helm(&home, &words);
    installed.unwrap_or_else(|error| {
        panic!("{error}\n{}", home.kubectl(&["get", "pods", "-o", "wide"]))
    });

    let sample = paths::root().join("deploy/samples/scaled.yaml");
    live.apply(&std::fs::read_to_string(sample).expect("the sample is there"));
    let _tells = Tells(&live);
    at_rest(&live, "nothing was sent yet").await;
    shows(&live, "nothing to do");
    let celery = Celery::new("5.7", &broker_url(&live, "reports"));
    up(&live, &celery).await;
    back(&live).await;
    println!(
        "--- what was decided\n{}",
        live.told("CeleryWorker").join("\n")
    );
    helm(&home, &["uninstall", "celeriac", "--wait", "--timeout=3m"]).expect("it goes");
    drop(kubelet);
}

/// Waits until the pool has no workers and wants none.
async fn at_rest(live: &Namespace, when: &str) {
    live.once("celeryworker", POOL, when, |pool| {
        let scaling = condition(pool, "Scaling");
        scaling["reason"] == "NothingToDo" && pool["spec"]["replicas"] == 0
    })
    .await;
    live.once("deployment", POOL, "it is at zero", |deployment| {
        deployment["spec"]["replicas"] == 0
    })
    .await;
}

/// Sends tasks and waits until each has been run, once.
async fn up(live: &Namespace, celery: &Celery) {
    let send = "times = [0.1, 0.5, 1, 3, 8] * 20\n\
                print('\\n'.join(nap.apply_async((t,), queue='reports').id for t in times))";
    let begin = Instant::now();
    let sent = celery.run(send);
    let sent: BTreeSet<&str> = sent.split_whitespace().collect();
    assert_eq!(sent.len(), 100);
    live.once("deployment", POOL, "workers are asked for", |deployment| {
        deployment["spec"]["replicas"].as_i64() > Some(0)
    })
    .await;
    println!(
        "asked for {:.1?} after the client that sent was started",
        begin.elapsed()
    );
    live.once("celeryworker", POOL, "workers are busy", |pool| {
        let busy = pool["status"]["busy"].as_str().unwrap_or("0/0");
        !busy.starts_with("0/")
    })
    .await;
    shows(live, "at work");
    eventually("all have returned", SOON * 2, async || {
        let returned = celery.counted("return");
        let left = sent.iter().filter(|id| !returned.contains_key(**id));
        match left.count() {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    let (started, returned) = (celery.counted("start"), celery.counted("return"));
    for id in &sent {
        assert_eq!((started[*id], returned[*id]), (1, 1), "{id}");
    }
}

/// Waits until the pool is at zero again: its workers went by drains.
async fn back(live: &Namespace) {
    at_rest(live, "all is done").await;
    eventually("no pod is left", SOON, async || {
        let own = "celeriac.dev/worker=reports-nightly";
        let left = live.kubectl(&["get", "pods", "-l", own, "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    shows(live, "back at zero");
    let told = live.told("CeleryWorker");
    let said = |word: &str| told.iter().any(|line| line.contains(word));
    assert!(
        said(" ScaledUp: ") && said(" ScaledDown: ") && said(" Drained: "),
        "{told:#?}"
    );
    assert!(
        !said(" NotDrained: ") && !said(" WrongVictim: "),
        "{told:#?}"
    );
}

fn shows(live: &Namespace, when: &str) {
    let wide = live.kubectl(&["get", "celery,celeryworkers", "-o", "wide"]);
    println!("--- {when}\n{wide}");
}

/// Prints what was decided, however the test ends.
struct Tells<'a>(&'a Namespace);

impl Drop for Tells<'_> {
    fn drop(&mut self) {
        println!(
            "--- what was decided\n{}",
            self.0.told("CeleryWorker").join("\n")
        );
    }
}
