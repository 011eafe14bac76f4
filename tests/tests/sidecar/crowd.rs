//! A thousand sidecars without an aggregator: what the broker gets of them.

use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_inspector::args::NameOptions;
use celeriac_inspector::config::Names;
use celeriac_inspector::sidecar::{Sidecar, SidecarConfig};
use celeriac_inspector::wire::content::Serializer;
use celeriac_inspector::wire::url::BrokerUrl;
use celeriac_tests::monitor::MonitoredCommand;
use celeriac_tests::resp::Value;
use celeriac_tests::{Fleet, Redis, eventually, turn};
use tokio_util::sync::CancellationToken;

const SIDECARS: usize = 1_000;
const CONTROL: &str = "/0.celery.pidbox";
/// For how long it is counted, from the moment on when all begin at once.
const COUNTED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sidecars_ask_once_a_second_all_together() {
    let _turn = turn().await;
    let redis = Redis::start();
    let fleet = Fleet::on(&redis.url()).workers(SIDECARS).start();
    eventually("all listen", Duration::from_mins(1), async || {
        let listeners = redis.cli(&["PUBLISH", CONTROL, "{}"]);
        let all = Value::Number(i64::try_from(SIDECARS).expect("a thousand"));
        ensure!(listeners == all, "{listeners:?}");
        Ok(())
    })
    .await;
    let monitor = redis.monitor();
    let stop = CancellationToken::new();
    let names = Names::try_from(NameOptions::default()).expect("defaults are valid");
    let guarded = fleet.names().iter().map(|worker| {
        let config = SidecarConfig {
            worker: worker.clone(),
            app: "default".to_owned(),
            broker: BrokerUrl::parse(&redis.url()).expect("it is one"),
            names: names.clone(),
            serializer: Serializer::Json,
            aggregator: None,
            listen: ([127, 0, 0, 1], 0).into(),
            stalled_after: Duration::from_mins(10),
            drain_deadline: Duration::from_hours(1),
            drain_lease: Duration::from_mins(1),
            drain_token: None,
        };
        let sidecar = Sidecar::new(config).expect("Redis is spoken");
        tokio::spawn(sidecar.guard(stop.clone()))
    });
    let guarded: Vec<_> = guarded.collect();
    let begin = Instant::now();
    tokio::time::sleep(COUNTED).await;
    let seconds = begin.elapsed().as_secs_f64();
    stop.cancel();
    futures_util::future::join_all(guarded).await;
    monitor.catch_up(&redis);
    let commands = monitor.commands();
    let count = |words: &[&str]| {
        let begins = |command: &&MonitoredCommand| {
            let mut begin = command.words.iter().zip(words);
            begin.all(|(one, other)| one.eq_ignore_ascii_case(other))
        };
        u32::try_from(commands.iter().filter(begins).count()).expect("some thousands")
    };
    let requests = count(&["PUBLISH", CONTROL]);
    println!(
        "{SIDECARS} sidecars without an aggregator, all started at once: {:.2} requests/s to all workers, {:.1} turns \
         asked for/s, {:.1} connections/s",
        f64::from(requests) / seconds,
        f64::from(count(&["SET"])) / seconds,
        f64::from(count(&["HELLO"])) / seconds,
    );
    let most = seconds.ceil() + 1.0;
    assert!(f64::from(requests) <= most, "{requests} in {seconds} s");
    assert!(requests > 10, "{requests}: they do ask");
}
