//! Celeriac as a guest on a production broker: what it sends to workers, and what it leaves behind.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use celeriac_tests::monitor::Monitor;
use celeriac_tests::{Aggregator, Celery, Proxy, Redis, Worker, eventually, turn};
use nix::sys::signal::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
/// What a reply list may live at most: long enough for a late reply, short enough not to be clutter.
const TTL_SECONDS_MAX: i64 = 600;
/// The same after an orderly end. Not zero: a deleted list is made anew, for ever, by a reply that is still under way.
const LAST_SECONDS_MAX: i64 = 60;
const CONTROL: &str = "/0.celery.pidbox";

struct Scene {
    redis: Redis,
    proxy: Proxy,
    monitor: Monitor,
    worker: Worker,
}

impl Scene {
    /// A worker on a monitored Redis, and a proxy by which Celeriac's connections are told from others.
    async fn set() -> Self {
        let redis = Redis::start();
        let worker = Celery::new("5.7", &redis.url())
            .worker("host")
            .start()
            .await;
        let proxy = Proxy::start(redis.address());
        let monitor = redis.monitor();
        Self {
            redis,
            proxy,
            monitor,
            worker,
        }
    }

    fn broker(&self) -> String {
        self.redis.url_of(self.proxy.address(), 0)
    }

    /// Every key that Celeriac wrote.
    fn written(&self) -> BTreeSet<String> {
        self.monitor
            .written_keys(&self.redis, &self.proxy.clients())
    }

    /// Requests that Celeriac sent to workers: method and destination.
    fn requests(&self) -> Vec<(String, Value)> {
        let ours: BTreeSet<String> = self
            .proxy
            .clients()
            .iter()
            .map(ToString::to_string)
            .collect();
        self.monitor
            .commands()
            .into_iter()
            .filter(|command| ours.contains(&command.client))
            .filter(|command| {
                command
                    .words
                    .get(1)
                    .is_some_and(|channel| channel == CONTROL)
            })
            .map(|command| request(&command.words[2]))
            .collect()
    }
}

/// Method and destination of a request in its envelope.
fn request(envelope: &str) -> (String, Value) {
    let envelope: Value = serde_json::from_str(envelope).expect("we publish JSON");
    let body = envelope["body"].as_str().expect("a body is text");
    let body = base64_simd::STANDARD
        .decode_to_vec(body)
        .expect("a body is base64");
    let body: Value = serde_json::from_slice(&body).expect("a request is JSON");
    let method = body["method"].as_str().expect("a request has a method");
    (method.to_owned(), body["destination"].clone())
}

async fn inspected(aggregator: &Aggregator) {
    eventually("the worker has answered", SOON, async || {
        let worker = aggregator.worker("celery@host").await?;
        let inspection = worker.inspection.unwrap_or_default();
        ensure!(
            inspection.queues_known && inspection.active.is_some(),
            "{inspection:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn after_an_orderly_end_every_key_of_ours_is_gone_soon_and_workers_were_asked_by_name() {
    let _turn = turn().await;
    let scene = Scene::set().await;
    let mut aggregator = Aggregator::on(&scene.broker()).await;
    inspected(&aggregator).await;
    aggregator.stop();

    assert_none_stays(&scene, LAST_SECONDS_MAX);

    let requests = scene.requests();
    let broadcasts: Vec<_> = requests.iter().filter(|(_, to)| to.is_null()).collect();
    assert!(
        broadcasts.len() <= 1,
        "at most one at start: {broadcasts:?}"
    );
    for (method, _) in &broadcasts {
        assert_eq!(method, "ping");
    }
    for (method, destination) in &requests {
        assert!(
            !["election", "hello"].contains(&method.as_str()),
            "{method} was sent"
        );
        if !destination.is_null() {
            assert_eq!(destination, &serde_json::json!(["celery@host"]), "{method}");
        }
    }
}

#[tokio::test]
async fn after_kill_9_every_key_of_ours_expires() {
    let _turn = turn().await;
    let scene = Scene::set().await;
    let mut aggregator = Aggregator::on(&scene.broker()).await;
    inspected(&aggregator).await;
    aggregator.kill9();
    assert_none_stays(&scene, TTL_SECONDS_MAX);
}

#[tokio::test]
async fn a_reply_that_comes_after_the_end_does_not_stay() {
    let _turn = turn().await;
    let scene = Scene::set().await;
    // A worker says that it is ready a moment before it listens to remote control: one answer shows that it does.
    let mut aggregator = Aggregator::on(&scene.broker()).await;
    inspected(&aggregator).await;
    aggregator.stop();
    let before = scene.requests().len();
    let answers = answers_of_worker(&scene);
    // It is asked while it cannot answer, and answers when nobody listens any more.
    scene.worker.process.signal_group(Signal::SIGSTOP);
    let mut aggregator = Aggregator::on(&scene.broker()).await;
    eventually("the worker is asked", SOON, async || {
        let asked = scene.requests().len();
        ensure!(asked > before, "no request yet");
        Ok(())
    })
    .await;
    aggregator.stop();
    scene.worker.process.signal_group(Signal::SIGCONT);
    eventually("the worker answers late", SOON, async || {
        let late = answers_of_worker(&scene) > answers;
        ensure!(late, "no LPUSH to a reply list by the worker");
        Ok(())
    })
    .await;
    assert_none_stays(&scene, TTL_SECONDS_MAX);
}

/// Answers that the worker has put on reply lists so far.
fn answers_of_worker(scene: &Scene) -> usize {
    let ours: BTreeSet<String> = scene
        .proxy
        .clients()
        .iter()
        .map(ToString::to_string)
        .collect();
    let commands = scene.monitor.commands();
    let answers = commands.iter().filter(|command| {
        !ours.contains(&command.client)
            && command.words[0].eq_ignore_ascii_case("LPUSH")
            && command.words[1].ends_with(".reply.celery.pidbox")
    });
    answers.count()
}

/// Every key that we wrote and that is still there has a time to live, in seconds.
fn assert_none_stays(scene: &Scene, seconds_max: i64) {
    let mut looked_at = 0;
    for key in scene.written() {
        let ttl = scene.redis.cli(&["TTL", &key]).number();
        // -2: gone. -1: stays for ever.
        assert!(
            ttl == -2 || (0..=seconds_max).contains(&ttl),
            "{key} has TTL {ttl}"
        );
        looked_at += 1;
    }
    assert!(
        looked_at > 0,
        "replies need a list, so some key was written"
    );
    let clutter: Vec<String> = scene.redis.keys();
    for key in clutter.iter().filter(|key| key.contains("celeriac")) {
        let ttl = scene.redis.cli(&["TTL", key]).number();
        assert!((0..=seconds_max).contains(&ttl), "{key} has TTL {ttl}");
    }
}
