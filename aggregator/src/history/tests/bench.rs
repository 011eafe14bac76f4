//! What it costs. Printed by default at a small size; `--ignored` runs the size that the budgets name.

use std::fmt::Write as _;
use std::time::Instant;

use super::super::{JOURNAL_KEEP, ListQuery};
use super::*;
use crate::query::{Order, Query};

/// User and system time of this thread, from the kernel, in microseconds.
fn cpu_micros() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = stat.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e3
}

/// Writes rows as a busy engine does: each task is seen unfinished in one commit and finished in the next.
fn fill(database: &mut Database, rows: u64, batch: u64) {
    let (started, before) = (Instant::now(), cpu_micros());
    let mut making = 0.0;
    for first in (0..rows).step_by(usize::try_from(batch).unwrap()) {
        let made = cpu_micros();
        let done: Vec<_> = (first..first + batch).map(finished).collect();
        let begun: Vec<_> = (first + batch..first + 2 * batch).map(unfinished).collect();
        making += cpu_micros() - made;
        for task in &begun {
            assert!(
                database
                    .writer
                    .load_task("default", &task.id)
                    .unwrap()
                    .is_none()
            );
        }
        let mut commit = database.writer.begin().unwrap();
        for task in &done {
            commit.put_task("default", task).unwrap();
        }
        for task in &begun {
            commit.put_unfinished("default", task).unwrap();
        }
        commit.commit().unwrap();
        database.writer.checkpoint(JOURNAL_KEEP).unwrap();
    }
    let count = f64::from(u32::try_from(rows).unwrap());
    println!(
        "{rows} tasks, {batch} a commit: {:.2} µs CPU a task, all in; {:.2} µs by the clock, tests' own work included",
        (cpu_micros() - before - making) / count,
        started.elapsed().as_secs_f64() * 1e6 / count,
    );
}

fn lists(database: &Database, runs: u32) -> f64 {
    let mut worst = 0.0_f64;
    let mut text = String::new();
    for (filter, order_by) in [
        ("", ""),
        ("state = FAILURE", ""),
        ("name = proj.tasks.kind7", ""),
        ("worker = celery@worker-3 state = SUCCESS", "last_seen desc"),
        ("state = PROGRESS", ""),
        ("", "finish_seen"),
        ("", "runtime desc"),
        ("state = FAILURE", "name"),
        ("", "worker desc"),
        ("runtime > 9.98 queue = celery", ""),
        ("root_id = 00000000-0000-0000-0000-000000000000", ""),
        ("id:ffff", ""),
        ("kwargs.id:77", ""),
    ] {
        let (query, order) = (
            Query::new(filter, "").unwrap(),
            Order::parse(order_by).unwrap(),
        );
        let mut slowest = 0.0_f64;
        let mut found = 0;
        for _ in 0..runs {
            let started = Instant::now();
            let list = ListQuery {
                order,
                ..ListQuery::new(&query)
            };
            let page = database.reader.list(&list).unwrap();
            slowest = slowest.max(started.elapsed().as_secs_f64() * 1e3);
            found = page.tasks.len();
        }
        let _ = writeln!(
            text,
            "  {slowest:8.2} ms at most, {found:3} tasks: {filter:?} by {order_by:?}"
        );
        worst = worst.max(slowest);
    }
    print!("{text}");
    worst
}

#[test]
fn a_hundred_thousand_tasks_are_listed() {
    let mut database = database();
    fill(&mut database, 100_000, 2_000);
    let worst = lists(&database, 3);
    // Unoptimised and on a busy machine; the budget of 50 ms is for a million rows in a release build.
    assert!(worst < 5_000.0, "{worst} ms");
}

#[test]
#[ignore = "a million rows: run with --release --ignored --nocapture"]
fn a_million_tasks_are_written_and_listed() {
    for batch in [200, 2_000] {
        let mut database = database();
        fill(&mut database, 1_000_000, batch);
        let file = database.dir.path().join("celeriac.db");
        println!("{} MiB on disk", file.metadata().unwrap().len() >> 20);
        lists(&database, 20);
        let (started, before) = (Instant::now(), cpu_micros());
        let retention = "900000".parse().unwrap();
        let mut slowest = Duration::ZERO;
        loop {
            let slice = Instant::now();
            let more = database.writer.sweep(&retention, START, 2_000).unwrap();
            slowest = slowest.max(slice.elapsed());
            if !more {
                break;
            }
        }
        println!(
            "100000 tasks deleted: {:.2} µs CPU a task, slowest slice {slowest:?}, {:?} in all",
            (cpu_micros() - before) / 1e5,
            started.elapsed(),
        );
        let started = Instant::now();
        let mut database = database.reopened();
        database.writer.recover().unwrap();
        println!("opened and recovered in {:?}", started.elapsed());
    }
}
