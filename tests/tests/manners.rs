//! Manners towards a large fleet: what workers get and send on our account, counted by the broker itself, over start,
//! steady state, a restart of the whole fleet and lost connections.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_proto::v1::{GetWorkerRequest, Worker, WorkerInspection};
use celeriac_tests::monitor::{Monitor, MonitoredCommand};
use celeriac_tests::{Aggregator, Fleet, Proxy, Redis, eventually, turn};
use serde_json::Value;

const CONTROL: &str = "/0.celery.pidbox";
const SECOND: i64 = 1_000_000;
/// Rates are looked at in windows of this length.
const WINDOW: i64 = 10 * SECOND;
/// The budget by default: all workers together may get 50 messages a second, each of them one when that is more.
const TOGETHER_PER_SECOND: f64 = 50.0;
/// What may be saved up.
const BURST: f64 = 100.0;
/// Workers named by one request at most.
const DESTINATION_MAX: usize = 50;
/// Replies in ten seconds: 50 a second, the burst, and those of the requests at both ends.
const REPLIES_MAX: u32 = 700;
/// What a first look asks, most wanted first.
const COMMANDS: [&str; 7] = [
    "stats",
    "active_queues",
    "scheduled",
    "reserved",
    "active",
    "registered",
    "conf",
];
/// How long a worker may take to be known in full. The rate alone needs 70 s for 500.
const KNOWN: Duration = Duration::from_mins(2);
/// What a reply list may live at most after an orderly end.
const LAST_SECONDS_MAX: i64 = 60;

/// A request to workers, as the broker saw it.
struct Asked {
    method: String,
    destination: Option<Vec<String>>,
}

struct Scene {
    redis: Redis,
    proxy: Proxy,
    monitor: Monitor,
    fleet: Fleet,
    aggregator: Aggregator,
    workers: usize,
}

impl Scene {
    /// A fleet that is there already is seen at once.
    async fn set(workers: usize, online_over: Duration, there_already: bool) -> Self {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let monitor = redis.monitor();
        let fleet = Fleet::on(&redis).workers(workers).online_over(online_over);
        let fleet = fleet.start();
        if there_already {
            eventually("the fleet is on line", KNOWN, async || {
                let count = redis.cli(&["PUBLISH", CONTROL, "{}"]).number();
                ensure!(usize::try_from(count)? == workers, "{count} subscribed");
                Ok(())
            })
            .await;
        }
        fleet.truth().delivered.clear();
        let aggregator = Aggregator::on(&redis.url_of(proxy.address(), 0)).await;
        Self {
            redis,
            proxy,
            monitor,
            fleet,
            aggregator,
            workers,
        }
    }

    /// Waits until every worker's present life is known in full.
    async fn known(&self, what: &str) {
        let begin = Instant::now();
        let mut client = self.aggregator.inspection().await.expect("it serves");
        let (mut consumed, mut whole) = (None, BTreeSet::new());
        eventually(what, KNOWN + Duration::from_mins(1), async || {
            let workers = self.aggregator.workers().await?;
            let answered = self.fleet.truth().answered.clone();
            let has = |name: &str, commands: &[&str]| {
                let said = answered.get(name);
                commands
                    .iter()
                    .all(|one| said.is_some_and(|said| said.contains(*one)))
            };
            let seen: Vec<&Worker> = workers
                .iter()
                .filter(|one| in_part(one) && has(&one.name, &COMMANDS[..2]))
                .collect();
            if seen.len() == self.workers {
                consumed.get_or_insert(begin.elapsed());
            }
            for one in &seen {
                // A list leaves out what is long.
                if !whole.contains(&one.name) && has(&one.name, &COMMANDS) {
                    let (app, name) = (String::new(), one.name.clone());
                    let answer = client.get_worker(GetWorkerRequest { app, name }).await?;
                    let worker = answer.into_inner().worker.unwrap_or_default();
                    whole.extend(in_full(&worker).then_some(worker.name));
                }
            }
            let (parts, full) = (seen.len(), whole.len());
            ensure!(
                full == self.workers,
                "{parts} partly and {full} in full known"
            );
            Ok(())
        })
        .await;
        let (parts, full) = (consumed.unwrap_or_default(), begin.elapsed());
        println!("{what}: queues and pool after {parts:.1?}, everything after {full:.1?}");
        assert!(full <= KNOWN, "{what} took {full:?}");
    }

    fn ours(&self) -> BTreeSet<String> {
        self.proxy
            .clients()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Our requests, and the replies to each method with their times.
    fn traffic(&self) -> (Vec<Asked>, HashMap<String, Vec<i64>>) {
        let ours = self.ours();
        let mut tickets = HashMap::new();
        let (mut asked, mut replies) = (Vec::new(), HashMap::<String, Vec<i64>>::new());
        for command in self.monitor.commands() {
            let word = |place: usize| command.words.get(place).map_or("", String::as_str);
            if ours.contains(&command.client) && word(1) == CONTROL {
                let (body, one) = request(&command);
                tickets.insert(body["ticket"].to_string(), one.method.clone());
                asked.push(one);
            } else if word(0) == "LPUSH" && word(1).ends_with(".reply.celery.pidbox") {
                let reply: Value = serde_json::from_str(word(2)).expect("workers answer in JSON");
                let method = tickets.get(&reply["headers"]["ticket"].to_string());
                let method = method.expect("nobody else asks here").clone();
                replies.entry(method).or_default().push(command.micros);
            }
        }
        (asked, replies)
    }

    /// Everything that is promised, over all that was sent so far.
    fn assert_mannerly(&self) {
        let (asked, replies) = self.traffic();
        let workers = f64::from(u32::try_from(self.workers).expect("a fleet is small"));
        let broadcasts: Vec<_> = asked
            .iter()
            .filter(|one| one.destination.is_none())
            .collect();
        assert_eq!(broadcasts.len(), 1, "one ping in less than ten minutes");
        assert_eq!(broadcasts[0].method, "ping");
        for one in &asked {
            assert!(
                !["election", "hello"].contains(&one.method.as_str()),
                "{}",
                one.method
            );
            let named = one.destination.as_ref().map_or(0, Vec::len);
            assert!(named <= DESTINATION_MAX, "{named} workers in one request");
        }
        // Each request is delivered to every worker; the bucket may be full at first, and the last request leaves a debt.
        let delivered = self.fleet.truth().delivered.clone();
        let all: Vec<i64> = sorted(delivered.values().flatten().copied());
        let most = busiest(&all);
        let allowed = TOGETHER_PER_SECOND.max(workers) * 10.0 + BURST + 2.0 * workers;
        assert!(
            f64::from(most) <= allowed,
            "{most} in ten seconds, allowed are {allowed}"
        );
        // While few have come on line each gets more of what all may get together.
        let each = delivered
            .values()
            .map(|times| busiest(times))
            .max()
            .unwrap_or(0);
        assert!(each <= 20, "{each} messages to one worker in ten seconds");
        let others = replies.iter().filter(|(method, _)| *method != "ping");
        let addressed = sorted(others.flat_map(|(_, times)| times.iter().copied()));
        let replies_most = busiest(&addressed);
        assert!(
            replies_most <= REPLIES_MAX,
            "{replies_most} replies in ten seconds"
        );
        let pongs = replies.get("ping").map_or(0, Vec::len);
        assert!(pongs <= self.workers, "{pongs} answers to the ping");
        println!(
            "{workers} workers: {} requests, {} deliveries, {} replies and {pongs} to the ping; in the busiest ten seconds \
             {most} deliveries, {each} to one worker, and {replies_most} replies",
            asked.len(),
            all.len(),
            addressed.len(),
        );
    }

    /// In steady state rounds go on, at half of the budget at most.
    async fn assert_steady(&self, rest: Duration) {
        let from = self.traffic().0.len();
        let begin = Instant::now();
        tokio::time::sleep(rest).await;
        let made = self.traffic().0.len() - from;
        let seconds = begin.elapsed().as_secs_f64();
        let workers = f64::from(u32::try_from(self.workers).expect("a fleet is small"));
        let budget = (TOGETHER_PER_SECOND / workers).max(1.0) * seconds;
        let made = f64::from(u32::try_from(made).expect("few requests"));
        println!(
            "steady: {:.2} messages a second to each worker",
            made / seconds
        );
        // A look that had begun is ended.
        assert!(
            made <= budget * 0.5 + 8.0,
            "{made} in {seconds} s, the budget is {budget}"
        );
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
    let names = |list: &Vec<Value>| list.iter().map(ToString::to_string).collect();
    let asked = Asked {
        method: body["method"].as_str().unwrap_or_default().to_owned(),
        destination: body["destination"].as_array().map(names),
    };
    (body, asked)
}

fn sorted(times: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut times: Vec<i64> = times.collect();
    times.sort_unstable();
    times
}

/// How many of these times are in the fullest window.
fn busiest(times: &[i64]) -> u32 {
    let mut first = 0;
    let mut most = 0;
    for (last, time) in times.iter().enumerate() {
        while times[first] + WINDOW <= *time {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    u32::try_from(most).expect("few fit into ten seconds")
}

async fn check(workers: usize, there_already: bool, online_over: Duration, steady: Duration) {
    let _turn = turn().await;
    let mut scene = Scene::set(workers, online_over, there_already).await;
    scene.known("first sight").await;
    scene.assert_steady(steady).await;

    scene.fleet.restart(online_over).await;
    scene.known("after a restart of the fleet").await;

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
async fn five_hundred_workers_are_asked_within_the_budget_and_known_within_two_minutes() {
    check(500, true, Duration::from_secs(20), Duration::from_mins(1)).await;
}
