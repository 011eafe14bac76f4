//! Real workers of every Celery version and pool on every broker: each is looked at, its task events and the depth of its queue
//! are seen, and it takes commands. What was seen is printed, and must be `matrix.txt`.

use std::fmt::Write as _;
use std::io::Write as _;

mod brokers;
mod run;

use brokers::Brokers;
use celeriac_tests::Aggregator;
use futures_util::StreamExt;

const VERSIONS: [&str; 5] = ["4.4", "5.2", "5.4", "5.6", "5.7"];

/// Versions whose workers run at once: thirteen workers of each start, and take a second of processor time or more.
const AT_ONCE: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_and_pool_is_seen_and_controlled_on_every_broker() {
    let brokers = tokio::task::spawn_blocking(Brokers::start);
    let brokers = brokers.await.expect("the brokers start");
    let mut builder = Aggregator::builder().arg("--round").arg("10m");
    for (app, url) in VERSIONS.iter().flat_map(|version| brokers.of(version)) {
        builder = builder.broker(&format!("{app}={url}"));
    }
    let aggregator = builder.start().await;
    let rows = futures_util::stream::iter(VERSIONS)
        .map(|version| run::version(version, &brokers, &aggregator))
        .buffered(AT_ONCE)
        .concat()
        .await;

    let mut table = String::new();
    let pools = run::POOLS.map(|pool| format!("{pool:<11}"));
    let _ = writeln!(
        table,
        "Celery | broker               | {}",
        pools.join(" | ")
    );
    for row in rows {
        let cells = row.cells.map(|cell| format!("{cell:<11}")).join(" | ");
        let _ = writeln!(table, "{:<6} | {:<20} | {cells}", row.celery, row.broker);
    }
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.trim_end().to_owned()).collect()
    };
    // Past the test harness's capture, so that it is in the output of a test that passes too.
    let _ = std::io::stderr().write_all(format!("\n{table}\n").as_bytes());
    let expected = lines(include_str!("matrix.txt"));
    assert_eq!(
        lines(&table),
        expected,
        "what was run is not what is written down"
    );
}
