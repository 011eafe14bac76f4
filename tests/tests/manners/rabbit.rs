//! The same on RabbitMQ, which records no commands: a queue of the test's own gets every request beside the workers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use celeriac_tests::{Aggregator, Fleet, RabbitMq, VirtualHost, eventually, turn};
use serde_json::{Value, json};

use crate::{Asked, KNOWN, asked, assert_mannerly, known, within_half};

/// The queue that gets every request. Nobody consumes it: it is no worker.
const WATCH: &str = "watch";
/// Requests of a test at most.
const REQUESTS_MAX: u32 = 100_000;
/// For how long the rounds are counted.
const STEADY: Duration = Duration::from_mins(1);

struct Scene {
    fleet: Fleet,
    aggregator: Aggregator,
    host: VirtualHost,
    requests: Vec<Asked>,
}

impl Scene {
    async fn set(workers: usize) -> Self {
        let host = tokio::task::spawn_blocking(RabbitMq::host).await;
        let host = host.expect("the node starts");
        let fleet = Fleet::on(&host.url()).workers(workers).start();
        eventually("the fleet listens", KNOWN, async || {
            let counts = fleet.counts();
            ensure!(counts.listening == workers as u64, "{counts:?}");
            Ok(())
        })
        .await;
        watch(&host).expect("the exchange of requests is there");
        let aggregator = Aggregator::on(&host.url()).await;
        Self {
            fleet,
            aggregator,
            host,
            requests: Vec::new(),
        }
    }

    /// Our requests so far. When each was sent is read off its `expires`, which is a fixed time later; as many replies are
    /// counted as it can have.
    fn requests(&mut self) -> &[Asked] {
        let path = format!("/api/queues/{}/{WATCH}/get", self.host.name());
        let ask =
            json!({"count": REQUESTS_MAX, "ackmode": "ack_requeue_false", "encoding": "auto"});
        let got = self.host.node().api().post(&path, &ask);
        let got = got.expect("management serves");
        for message in got.as_array().expect("it answers with a list") {
            let one = request(message).unwrap_or_else(|error| panic!("{error:#}: {message}"));
            self.requests.push(one);
        }
        &self.requests
    }

    fn assert_mannerly(&mut self) {
        let delivered = self.fleet.truth().delivered.clone();
        let deliveries = delivered.values().map(Vec::len).sum();
        let workers = self.fleet.names().len();
        let replies = self.fleet.counts().replies;
        let requests = self.requests();
        let named: u64 = requests.iter().map(|one| u64::from(one.replies)).sum();
        // To the ping all may answer, in either life.
        let meant = named + 2 * workers as u64;
        assert!(replies <= meant, "{replies} replies, {meant} asked for");
        assert_mannerly(requests, deliveries, workers, true);
    }
}

/// Has a queue get whatever workers get.
fn watch(host: &VirtualHost) -> Result<()> {
    let (api, name) = (host.node().api(), host.name());
    let queue = format!("/api/queues/{name}/{WATCH}");
    api.put(&queue, &json!({"durable": true}))?;
    let binding = format!("/api/bindings/{name}/e/celery.pidbox/q/{WATCH}");
    api.post(&binding, &json!({"routing_key": ""}))?;
    Ok(())
}

fn request(message: &Value) -> Result<Asked> {
    let body: Value = serde_json::from_str(message["payload"].as_str().context("it is text")?)?;
    let expires = message["properties"]["headers"]["expires"].as_f64();
    let expires = Duration::try_from_secs_f64(expires.context("it expires")?)?;
    let mut one = asked(&body, i64::try_from(expires.as_micros())?);
    one.replies = u32::try_from(one.destination.as_ref().map_or(0, Vec::len))?;
    Ok(one)
}

async fn check(workers: usize) {
    let _turn = turn().await;
    let mut scene = Scene::set(workers).await;
    known(&scene.aggregator, &scene.fleet, "first sight").await;
    eventually("rounds cost half of the budget", KNOWN, async || {
        let from = scene.requests().len();
        let begin = Instant::now();
        tokio::time::sleep(STEADY).await;
        let made = scene.requests().len() - from;
        within_half(made, begin.elapsed(), workers)
    })
    .await;
    scene.fleet.restart(Duration::from_secs(5)).await;
    known(&scene.aggregator, &scene.fleet, "after a restart").await;
    eventually("our connections are closed", KNOWN, async || {
        let closed = scene.host.close_connections("celeriac-inspector")?;
        ensure!(closed > 0, "none is known yet");
        Ok(())
    })
    .await;
    scene.aggregator.subscribed().await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    scene.assert_mannerly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_workers_are_asked_within_the_budget_on_rabbitmq() {
    check(50).await;
}

/// By hand: `cargo test -p celeriac-tests --test manners -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes: the same with five hundred"]
async fn five_hundred_workers_are_asked_within_the_budget_on_rabbitmq() {
    check(500).await;
}
