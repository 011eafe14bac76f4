//! (a) What an event costs each consumer: the same stream, one consumer after the other, nothing lost.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use celeriac_tests::Redis;
use celeriac_tests::paths::{Profile, root};

use crate::consumer::{Consumer, Kind};
use crate::publish::{Published, as_f64, publish, publish_end};
use crate::stream::Stream;
use crate::table::{Spread, Table};
use crate::usage::{cpu_seconds, peak_mib, quiet};

/// How often a consumer that lost events is tried again, each time at half the rate.
const TRIES: u32 = 3;
/// The longest that a consumer may take for what is left when the producer has ended.
const REST: Duration = Duration::from_mins(5);

/// How much of it is measured.
pub(crate) struct Size {
    /// Runs of each.
    pub(crate) runs: usize,
    /// Events of a run: Celeriac and floor.
    pub(crate) events: u64,
    /// Events of a run of the Python programs.
    pub(crate) events_of_peers: u64,
    /// Events that Flower has seen before its second measurement: enough to fill its store of 100,000 tasks.
    pub(crate) flower_fill: u64,
    /// Whether the Python programs are measured too.
    pub(crate) peers: bool,
    /// Celeriac's build.
    pub(crate) profile: Profile,
}

impl Size {
    pub(crate) const FULL: Self = Self {
        runs: 3,
        events: 600_000,
        events_of_peers: 30_000,
        flower_fill: 450_000,
        peers: true,
        profile: Profile::Release,
    };
    pub(crate) const QUICK: Self = Self {
        runs: 1,
        events: 300_000,
        events_of_peers: 20_000,
        flower_fill: 0,
        peers: true,
        profile: Profile::Release,
    };
    /// Shows that everything works, and measures nothing.
    pub(crate) const SMOKE: Self = Self {
        runs: 1,
        events: 3_000,
        events_of_peers: 3_000,
        flower_fill: 0,
        peers: true,
        profile: Profile::Debug,
    };
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Sample {
    events: u64,
    rate: f64,
    cpu_seconds: f64,
    wall_seconds: f64,
    peak_mib: f64,
}

/// Measures everybody and gives the table.
pub(crate) async fn measure(size: &Size) -> Result<Table> {
    let mut measured: Vec<(String, Vec<Sample>)> = Vec::new();
    let add = |name: &str, sample: Sample, measured: &mut Vec<(String, Vec<Sample>)>| {
        eprintln!("    {name}: {:.0} events a CPU-second", per_cpu(&sample));
        match measured.iter_mut().find(|(known, _)| known == name) {
            Some((_, samples)) => samples.push(sample),
            None => measured.push((name.to_owned(), vec![sample])),
        }
    };
    // In turns, so that a busy minute of the machine does not fall on one of them.
    for _ in 0..size.runs {
        for (kind, rate) in [
            (Kind::InProcess, 40_000.0),
            (Kind::OverGrpc, 40_000.0),
            (Kind::Floor, 100_000.0),
        ] {
            add(
                kind.name(),
                fresh(kind, size.events, rate, size).await?,
                &mut measured,
            );
        }
        if !size.peers {
            continue;
        }
        for (kind, rate) in [(Kind::Flower, 5_000.0), (Kind::Exporter, 5_000.0)] {
            let events = size.events_of_peers;
            add(
                kind.name(),
                fresh(kind, events, rate, size).await?,
                &mut measured,
            );
        }
    }
    if size.peers && size.flower_fill > 0 {
        for sample in full_flower(size).await? {
            add(FULL_FLOWER, sample, &mut measured);
        }
    }
    Ok(table(&measured))
}

const FULL_FLOWER: &str = "Flower, store full";

/// Starts a consumer and measures it; again at half the rate when it lost events.
async fn fresh(kind: Kind, events: u64, mut rate: f64, size: &Size) -> Result<Sample> {
    for _ in 0..TRIES {
        let redis = unbounded_redis();
        let consumer = Consumer::start(kind, &redis, size.profile).await?;
        let mut stream = Stream::open(&recording())?;
        let before = consumer.consumed()?;
        match sample(&consumer, &redis, &mut stream, events, rate, before)? {
            Ok(sample) => return Ok(sample),
            Err(lost) => {
                eprintln!(
                    "    void: {} at {rate:.0} events a second: {lost}",
                    kind.name()
                );
                rate /= 2.0;
            }
        }
    }
    bail!("{} loses events at any rate tried", kind.name());
}

/// Flower as it is after some days on a busy site: with as many tasks as it keeps.
async fn full_flower(size: &Size) -> Result<Vec<Sample>> {
    let redis = unbounded_redis();
    let consumer = Consumer::start(Kind::Flower, &redis, size.profile).await?;
    let mut stream = Stream::open(&recording())?;
    eprintln!(
        "    filling Flower's store with {} events",
        size.flower_fill
    );
    publish(redis.address(), &mut stream, size.flower_fill, 20_000.0)?;
    quiet(&consumer.pids(), REST)?;
    let mut samples = Vec::new();
    for _ in 0..size.runs {
        let before = consumer.consumed()?;
        match sample(
            &consumer,
            &redis,
            &mut stream,
            size.events_of_peers,
            5_000.0,
            before,
        )? {
            Ok(sample) => samples.push(sample),
            Err(lost) => bail!("{FULL_FLOWER}: {lost}"),
        }
    }
    Ok(samples)
}

/// Publishes, waits until all is consumed, and measures; what was lost, when something was.
fn sample(
    consumer: &Consumer,
    redis: &Redis,
    stream: &mut Stream,
    events: u64,
    rate: f64,
    before: u64,
) -> Result<Result<Sample, String>> {
    let pids = consumer.pids();
    quiet(&pids, REST)?;
    let cpu = cpu_seconds(&pids)?;
    let published: Published = publish(redis.address(), stream, events, rate)?;
    let bytes = published.bytes + publish_end(redis.address())? as u64;
    let used = quiet(&pids, REST)? - cpu;
    let consumed = consumer.consumed()? - before;
    let expected = consumer.expected(&published.counts, bytes);
    if consumed != expected {
        let log = consumer.log();
        let tail = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
        return Ok(Err(format!(
            "it says {consumed}, sent were {expected}\n{tail}"
        )));
    }
    Ok(Ok(Sample {
        events,
        rate,
        cpu_seconds: used,
        wall_seconds: published.took.as_secs_f64(),
        peak_mib: peak_mib(&pids)?,
    }))
}

/// A Redis that never cuts off a slow subscriber: the peers are slower than their producer, and nothing may be lost.
fn unbounded_redis() -> Redis {
    Redis::builder()
        .config("client-output-buffer-limit pubsub 0 0 0")
        .start()
}

fn recording() -> std::path::PathBuf {
    root().join(Path::new("tests/fixtures/redis-events.jsonl"))
}

fn per_cpu(sample: &Sample) -> f64 {
    as_f64(sample.events) / sample.cpu_seconds.max(0.01)
}

fn table(measured: &[(String, Vec<Sample>)]) -> Table {
    let spread = |name: &str| {
        let samples = measured.iter().find(|(known, _)| known == name);
        samples.map(|(_, samples)| Spread::of(samples.iter().map(per_cpu)))
    };
    let (fresh, full) = (spread(Kind::Flower.name()), spread(FULL_FLOWER));
    let ratio = |own: &Spread, peer: &Option<Spread>| {
        let ratio = peer.as_ref().map(|peer| own.median / peer.median);
        ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"))
    };
    let mut table = Table::new(&[
        "ingest",
        "events/CPU-s",
        "min",
        "max",
        "x Flower",
        "x Flower full",
        "events",
        "sent at/s",
        "took s",
        "peak MiB",
    ]);
    for (name, samples) in measured {
        let own = Spread::of(samples.iter().map(per_cpu));
        let of = |field: fn(&Sample) -> f64| Spread::of(samples.iter().map(field)).median;
        table.row(vec![
            name.clone(),
            format!("{:.0}", own.median),
            format!("{:.0}", own.min),
            format!("{:.0}", own.max),
            ratio(&own, &fresh),
            ratio(&own, &full),
            format!(
                "{}x{:.0}",
                samples.len(),
                of(|sample| as_f64(sample.events))
            ),
            format!("{:.0}", of(|sample| sample.rate)),
            format!("{:.1}", of(|sample| sample.wall_seconds)),
            format!("{:.0}", of(|sample| sample.peak_mib)),
        ]);
    }
    table
}
