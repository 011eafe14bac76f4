//! (b) What tasks cost in memory: finished ones, which are in history, and unfinished ones.

use std::time::Duration;

use anyhow::Result;
use celeriac_tests::Aggregator;
use celeriac_tests::paths::Profile;

use crate::fill::Filler;
use crate::publish::as_f64;
use crate::table::Table;
use crate::usage::{peak_mib, quiet, resident_mib};

/// A finished task stays in memory for 15 s for late events; then the next tick drops it.
const GRACE: Duration = Duration::from_secs(18);

/// Fills an aggregator in four steps; gives it, filled, and the table. The filler can go on.
pub(crate) async fn measure(
    finished: u64,
    unfinished: u64,
    profile: Profile,
) -> Result<(Aggregator, Filler, Table)> {
    let mut table = Table::new(&["memory", "tasks", "resident MiB", "peak MiB", "bytes/task"]);
    table.row(unfinished_row(unfinished, profile).await?);
    let aggregator = Aggregator::builder().profile(profile).start().await;
    let pids = [aggregator.process.pid()];
    let mut filler = Filler::open(&aggregator).await?;
    for quarter in 1..=4 {
        let tasks = finished * quarter / 4;
        eprintln!("    filling history up to {tasks} tasks");
        filler.fill(tasks, true).await?;
        tokio::time::sleep(GRACE).await;
        quiet(&pids, Duration::from_mins(1))?;
        table.row(vec![
            "finished, in history".to_owned(),
            tasks.to_string(),
            format!("{:.1}", resident_mib(&pids)?),
            format!("{:.1}", peak_mib(&pids)?),
            "-".to_owned(),
        ]);
    }
    Ok((aggregator, filler, table))
}

async fn unfinished_row(tasks: u64, profile: Profile) -> Result<Vec<String>> {
    let aggregator = Aggregator::builder().profile(profile).start().await;
    let pids = [aggregator.process.pid()];
    let mut filler = Filler::open(&aggregator).await?;
    // What the first tasks of each worker and name cost is not a task's.
    let warm = tasks / 20;
    filler.fill(warm, false).await?;
    quiet(&pids, Duration::from_mins(1))?;
    let before = resident_mib(&pids)?;
    filler.fill(tasks, false).await?;
    quiet(&pids, Duration::from_mins(1))?;
    let after = resident_mib(&pids)?;
    Ok(vec![
        "unfinished, in memory".to_owned(),
        tasks.to_string(),
        format!("{after:.1}"),
        format!("{:.1}", peak_mib(&pids)?),
        format!(
            "{:.0}",
            (after - before) * 1024.0 * 1024.0 / as_f64(tasks - warm)
        ),
    ])
}
