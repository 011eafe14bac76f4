//! Manners towards a large fleet: what workers get and send on our account, counted by the broker itself, over start,
//! steady state, a restart of the whole fleet and lost connections.

mod rabbit;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_proto::v1::{GetWorkerRequest, Worker, WorkerInspection};
use celeriac_tests::monitor::{Monitor, MonitoredCommand};
use celeriac_tests::product::FIRST_LOOK;
use celeriac_tests::{Aggregator, Fleet, Proxy, Redis, eventually, turn};
use serde_json::Value;

const CONTROL: &str = "/0.celery.pidbox";
/// What is published here so that the broker counts who listens; it is no request.
const COUNT: &str = "{}";
const SECOND: i64 = 1_000_000;
/// Rates are looked at in windows of this length.
const WINDOW: i64 = 10 * SECOND;
/// The budget by default: all workers together may get 50 messages a second, each of them one when that is more.
const TOGETHER_PER_SECOND: f64 = 50.0;
/// What may be saved up.
const BURST: f64 = 100.0;
/// Workers named by one request at most.
const DESTINATION_MAX: usize = 50;
/// Replies to what is asked in ten seconds: 50 a second, the burst, and those of the requests at both ends.
const REPLIES_MAX: u32 = 700;
/// When all workers must be known in full. For 500 the rate alone needs 70 s; the rest is for a slow machine.
const KNOWN: Duration = Duration::from_mins(10);
/// How often that is looked at: a list of 500 workers is work for the aggregator too.
const LOOK: Duration = Duration::from_millis(500);
/// What a reply list may live at most after an orderly end.
const LAST_SECONDS_MAX: i64 = 60;

/// A request to workers, as the broker saw it.
struct Asked {
    method: String,
    /// When the broker took it, in microseconds.
    micros: i64,
    replies: u32,
    destination: Option<Vec<String>>,
}

/// In the order in which it may go: the fleet needs its broker.
struct Scene {
    fleet: Fleet,
    aggregator: Aggregator,
    monitor: Monitor,
    proxy: Proxy,
    redis: Redis,
    workers: usize,
    there_already: bool,
}

impl Scene {
    /// A fleet that is there already is seen at once.
    async fn set(workers: usize, online_over: Duration, there_already: bool) -> Self {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let monitor = redis.monitor();
        let fleet = Fleet::on(&redis.url())
            .workers(workers)
            .online_over(online_over);
        let fleet = fleet.start();
        if there_already {
            eventually("the fleet is on line", KNOWN, async || {
                let count = redis.cli(&["PUBLISH", CONTROL, COUNT]).number();
                ensure!(usize::try_from(count)? == workers, "{count} subscribed");
                Ok(())
            })
            .await;
        }
        fleet.truth().delivered.clear();
        let aggregator = Aggregator::on(&redis.url_of(proxy.address(), 0)).await;
        Self {
            fleet,
            aggregator,
            monitor,
            proxy,
            redis,
            workers,
            there_already,
        }
    }

    /// Our requests in order, each with the number of replies to it. What counts is when the broker took a request: a slow
    /// machine may hand it out, and answer it, in bursts.
    fn requests(&self) -> Vec<Asked> {
        let (mut asked, mut places) = (Vec::<Asked>::new(), HashMap::new());
        for command in self.monitor.commands() {
            let word = |place: usize| command.words.get(place).map_or("", String::as_str);
            // Nobody else asks. By ports they cannot be told: one that is free again is soon some worker's.
            let asks = word(0).eq_ignore_ascii_case("PUBLISH") && word(1) == CONTROL;
            if asks && word(2) != COUNT {
                let (body, one) = request(&command);
                places.insert(body["ticket"].to_string(), asked.len());
                asked.push(one);
            } else if word(0) == "LPUSH" && word(1).ends_with(".reply.celery.pidbox") {
                let reply: Value = serde_json::from_str(word(2)).expect("workers answer in JSON");
                let place = places.get(&reply["headers"]["ticket"].to_string());
                asked[*place.expect("nobody else asks here")].replies += 1;
            }
        }
        asked
    }

    /// Everything that is promised, over all that was sent so far.
    fn assert_mannerly(&self) {
        // Taken first: what is asked while this reads the recording may be delivered, but is not among what was asked.
        let delivered = self.fleet.truth().delivered.clone();
        self.monitor.catch_up(&self.redis);
        let deliveries = delivered.values().map(Vec::len).sum();
        assert_mannerly(
            &self.requests(),
            deliveries,
            self.workers,
            self.there_already,
        );
    }

    /// In steady state rounds go on, at half of the budget at most; what had begun before is ended first.
    async fn assert_steady(&self, rest: Duration) {
        eventually("rounds cost half of the budget", KNOWN, async || {
            let from = self.requests().len();
            let begin = Instant::now();
            tokio::time::sleep(rest).await;
            let made = self.requests().len() - from;
            within_half(made, begin.elapsed(), self.workers)
        })
        .await;
    }

    /// Nothing of ours stays for ever, nothing that has no expiry.
    fn assert_clean(&mut self) {
        self.aggregator.stop();
        for key in self.redis.keys() {
            let ttl = self.redis.cli(&["TTL", &key]).number();
            // -2: gone in between.
            assert!(
                ttl == -2 || (0..=LAST_SECONDS_MAX).contains(&ttl),
                "{key} has TTL {ttl}"
            );
        }
        let lists: BTreeSet<String> = self
            .monitor
            .written_keys(&self.redis, &self.proxy.clients());
        assert_eq!(lists.len(), 1, "one reply list for one life: {lists:?}");
    }
}

/// So many requests in this time cost half of the budget at most.
fn within_half(made: usize, time: Duration, workers: usize) -> anyhow::Result<()> {
    let workers = f64::from(u32::try_from(workers)?);
    let half = (TOGETHER_PER_SECOND / workers).max(1.0) * 0.5;
    let (made, seconds) = (f64::from(u32::try_from(made)?), time.as_secs_f64());
    println!(
        "steady: {:.2} messages a second to each worker",
        made / seconds
    );
    // A look that had begun is ended.
    ensure!(
        made <= half * seconds + 8.0,
        "{made} in {seconds} s, half of the budget is {half} a second"
    );
    Ok(())
}

/// Waits until every worker's present life is known in full.
async fn known(aggregator: &Aggregator, fleet: &Fleet, what: &str) {
    let all = fleet.names().len();
    let begin = Instant::now();
    let mut client = aggregator.inspection().await.expect("it serves");
    let (mut consumed, mut whole) = (None, BTreeSet::new());
    eventually(what, KNOWN, async || {
        tokio::time::sleep(LOOK).await;
        let workers = aggregator.workers().await?;
        let answered = fleet.truth().answered.clone();
        let has = |name: &str, commands: &[&str]| {
            let said = answered.get(name);
            commands
                .iter()
                .all(|one| said.is_some_and(|said| said.contains(*one)))
        };
        let seen: Vec<&Worker> = workers
            .iter()
            .filter(|one| in_part(one) && has(&one.name, &FIRST_LOOK[..2]))
            .collect();
        if seen.len() == all {
            consumed.get_or_insert(begin.elapsed());
        }
        for one in &seen {
            // A list leaves out what is long.
            if !whole.contains(&one.name) && has(&one.name, &FIRST_LOOK) {
                let (app, name) = (String::new(), one.name.clone());
                let answer = client.get_worker(GetWorkerRequest { app, name }).await?;
                let worker = answer.into_inner().worker.unwrap_or_default();
                whole.extend(in_full(&worker).then_some(worker.name));
            }
        }
        let (parts, full) = (seen.len(), whole.len());
        ensure!(full == all, "{parts} partly and {full} in full known");
        Ok(())
    })
    .await;
    let (parts, full) = (consumed.unwrap_or_default(), begin.elapsed());
    println!("{what}: queues and pool after {parts:.1?}, everything after {full:.1?}");
}

/// Everything that is promised, of requests and how often workers got one.
fn assert_mannerly(asked: &[Asked], deliveries: usize, workers: usize, there_already: bool) {
    let reach = asked.len() * workers;
    let workers = f64::from(u32::try_from(workers).expect("a fleet is small"));
    let broadcasts: Vec<_> = asked
        .iter()
        .filter(|one| one.destination.is_none())
        .collect();
    assert_eq!(broadcasts.len(), 1, "one ping in less than ten minutes");
    assert_eq!(broadcasts[0].method, "ping");
    for one in asked {
        assert!(
            !["election", "hello"].contains(&one.method.as_str()),
            "{}",
            one.method
        );
        let named = one.destination.as_ref().map_or(0, Vec::len);
        assert!(named <= DESTINATION_MAX, "{named} workers in one request");
    }
    // Each request is delivered to every worker; the bucket may be full at first, and the last request leaves a debt.
    let most = f64::from(busiest(asked, |_| 1));
    assert!(
        deliveries <= reach,
        "{deliveries} deliveries of {} requests",
        asked.len()
    );
    let together = TOGETHER_PER_SECOND.max(workers) * 10.0 + BURST + 2.0 * workers;
    let allowed = if there_already {
        together / workers
    } else {
        // While few have come on line each gets more of what all may get together.
        20.0
    };
    assert!(
        most <= allowed,
        "{most} requests in ten seconds, allowed are {allowed}"
    );
    let addressed = |one: &Asked| one.destination.as_ref().map_or(0, |_| one.replies);
    let replies_most = busiest(asked, addressed);
    assert!(
        replies_most <= REPLIES_MAX,
        "{replies_most} replies to what was asked in ten seconds"
    );
    let pongs = broadcasts[0].replies;
    assert!(f64::from(pongs) <= workers, "{pongs} answers to the ping");
    println!(
        "{workers} workers: {} requests, {deliveries} deliveries, {} replies and {pongs} to the ping; in the busiest ten \
         seconds {most} requests to each worker and {replies_most} replies",
        asked.len(),
        asked.iter().map(addressed).sum::<u32>(),
    );
}

/// Whether pool and queues of a worker are known.
fn in_part(worker: &Worker) -> bool {
    let known = |seen: &WorkerInspection| seen.queues_known && seen.pool.is_some();
    worker.inspection.as_ref().is_some_and(known)
}

/// Whether everything else is known too.
fn in_full(worker: &Worker) -> bool {
    worker.inspection.as_ref().is_some_and(|seen| {
        seen.active.is_some() && !seen.registered.is_empty() && seen.configuration_json.is_some()
    })
}

fn request(command: &MonitoredCommand) -> (Value, Asked) {
    let envelope: Value = serde_json::from_str(&command.words[2]).expect("we publish JSON");
    let body = envelope["body"].as_str().expect("a body is text");
    let body = base64_simd::STANDARD
        .decode_to_vec(body)
        .expect("a body is base64");
    let body: Value = serde_json::from_slice(&body).expect("a request is JSON");
    let asked = asked(&body, command.micros);
    (body, asked)
}

/// What a request asks, without its replies.
fn asked(body: &Value, micros: i64) -> Asked {
    let names = |list: &Vec<Value>| list.iter().map(ToString::to_string).collect();
    Asked {
        method: body["method"].as_str().unwrap_or_default().to_owned(),
        micros,
        replies: 0,
        destination: body["destination"].as_array().map(names),
    }
}

/// What the requests of the fullest window cost.
fn busiest(asked: &[Asked], cost: impl Fn(&Asked) -> u32) -> u32 {
    let (mut first, mut most, mut sum) = (0, 0, 0);
    for one in asked {
        while asked[first].micros + WINDOW <= one.micros {
            sum -= cost(&asked[first]);
            first += 1;
        }
        sum += cost(one);
        most = most.max(sum);
    }
    most
}

async fn check(workers: usize, there_already: bool, online_over: Duration, steady: Duration) {
    let _turn = turn().await;
    let mut scene = Scene::set(workers, online_over, there_already).await;
    known(&scene.aggregator, &scene.fleet, "first sight").await;
    scene.assert_steady(steady).await;

    scene.fleet.restart(online_over).await;
    known(&scene.aggregator, &scene.fleet, "after a restart").await;

    scene.fleet.reconnect(Duration::from_secs(1)).await;
    scene.proxy.cut();
    scene.aggregator.subscribed().await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    scene.assert_mannerly();
    scene.assert_clean();
}

#[tokio::test]
async fn fifty_workers_are_asked_within_the_budget() {
    check(50, false, Duration::from_secs(5), Duration::from_secs(80)).await;
}

/// Takes about five minutes: each worker gets one message a second, and the fleet is to be known twice.
#[tokio::test]
async fn five_hundred_workers_are_asked_within_the_budget() {
    check(500, true, Duration::from_secs(20), Duration::from_mins(1)).await;
}
