//! `celeriac top` on a pseudo-terminal, against a real aggregator, Redis and Celery workers.

mod picture;
#[path = "../../../aggregator/client/tests/client/tty.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of the client, which use all of it"
)]
mod tty;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use celeriac_tests::paths::{Profile, binary};
use celeriac_tests::{Aggregator, Celery, Redis, Worker, celeriac, eventually, turn};
use nix::sys::signal::Signal;
use pty_process::blocking::Command;
use tty::Tty;

const SOON: Duration = Duration::from_mins(1);

/// `celeriac top` on a terminal of so many columns and rows.
fn top(server: SocketAddr, columns: u16, rows: u16) -> Tty {
    let mut command = Command::new(binary(Profile::Debug, "celeriac"))
        .args(["top", "--server", &server.to_string()])
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8");
    for name in ["CELERIAC_APP", "CELERIAC_SERVER", "NO_COLOR", "CLICOLOR"] {
        command = command.env_remove(name);
    }
    Tty::run(command, columns, rows)
}

struct Shop {
    celery: Celery,
    aggregator: Aggregator,
    worker: Worker,
    redis: Redis,
}

async fn shop() -> Shop {
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::on(&redis.url()).await;
    let worker = celery.worker("one").concurrency(2).start().await;
    eventually("the worker has been asked", SOON, async || {
        let worker = aggregator.worker("celery@one").await?;
        let pool = worker.inspection.and_then(|inspection| inspection.pool);
        ensure!(pool.as_deref() == Some("prefork"), "{pool:?}");
        Ok(())
    })
    .await;
    Shop {
        celery,
        aggregator,
        worker,
        redis,
    }
}

#[tokio::test]
async fn it_shows_what_workers_do_as_they_do_it() {
    let _turn = turn().await;
    let mut shop = shop().await;
    let mut tty = top(shop.aggregator.address(), 100, 30);
    tty.shows("1 online of 1");
    tty.keys("2");
    tty.until("the worker is not shown", |screen| {
        let row = screen.lines().find(|line| line.starts_with("celery@one"));
        row.is_some_and(|row| {
            row.contains("ONLINE") && row.contains("prefork") && row.contains("0/2")
        })
    });
    // Two run, and two wait in the worker.
    shop.celery
        .run("[nap.delay(600) for _ in range(4)]\nfail.delay('\\x1b[2Jred')");
    tty.until("it is not busy", |screen| screen.contains("2/2"));
    tty.keys("3");
    tty.until("the queue is not shown", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with("celery ") && line.contains("celery@one"))
    });
    tty.keys("5");
    tty.until("its tasks are not shown", |screen| {
        screen.matches("STARTED").count() == 2 && screen.matches("RECEIVED").count() >= 2
    });
    tty.keys("/state = STARTED\r");
    tty.until("they are not filtered", |screen| {
        screen.contains("filter: state = STARTED")
            && screen.contains("2 shown")
            && !screen.contains("RECEIVED")
    });
    tty.keys("/\x15state = \r");
    tty.until("a wrong filter is not said", |screen| {
        screen
            .lines()
            .nth(2)
            .is_some_and(|line| line.contains("filter"))
            && !screen.contains("2 shown")
    });
    tty.keys("/\x15\tname:fail\r");
    tty.shows("search: name:fail");
    tty.shows("demo.fail");
    tty.resize(80, 24);
    tty.keys("4");
    tty.until("names are not shown", |screen| {
        screen.lines().any(|line| line.starts_with("demo.nap"))
            && screen
                .lines()
                .last()
                .is_some_and(|line| line.contains("? help"))
    });
    shop.worker.kill9();
    tty.keys("2");
    tty.shows("SILENT");
    tty.signal(Signal::SIGTERM);
    assert!(tty.ended().success());
    assert!(tty.is_usual(), "{}", tty.contents());
}

#[tokio::test]
async fn a_failure_is_shown_at_length_without_driving_the_terminal() {
    let _turn = turn().await;
    let shop = shop().await;
    let tty = top(shop.aggregator.address(), 100, 40);
    tty.shows("1 online of 1");
    tty.keys("6");
    shop.celery.run("fail.delay('\\x1b[2Jred')");
    tty.until("the failure is not shown", |screen| {
        screen.contains("demo.fail") && screen.contains("\\x1b[2Jred")
    });
    tty.keys("\r");
    let screen = tty.until("its traceback is not shown", |screen| {
        screen.contains("Traceback") && screen.contains("State") && screen.contains("FAILURE")
    });
    assert!(screen.contains("celery@one"), "{screen}");
    tty.keys("q");
    tty.shows("EXCEPTION");
}

#[tokio::test]
async fn it_goes_on_when_the_aggregator_was_away() {
    let _turn = turn().await;
    let mut shop = shop().await;
    let tty = top(shop.aggregator.address(), 80, 24);
    tty.shows("1 online of 1");
    tty.keys("2");
    tty.shows("ONLINE");
    shop.aggregator.kill9();
    tty.shows("reconnecting");
    shop.aggregator.restart().await;
    tty.shows("live ");
    tty.shows("ONLINE");
    shop.redis.kill();
    tty.shows("broker down");
}

#[tokio::test]
async fn a_worker_and_a_task_are_told_what_was_confirmed_and_do_it() {
    let _turn = turn().await;
    let shop = shop().await;
    let tty = top(shop.aggregator.address(), 100, 30);
    tty.shows("1 online of 1");
    tty.keys("2");
    tty.shows("0/2");
    tty.keys("c+");
    tty.shows("Send this command?");
    tty.keys("n");
    tty.shows("nothing was sent");
    tty.keys("c+");
    tty.shows("to celery@one");
    tty.keys("y");
    tty.shows("pool will grow");
    tty.keys("q");
    // What the worker says of its pool, not what it answered.
    eventually("the pool has grown", SOON, async || {
        let answer = celeriac(
            shop.aggregator.address(),
            &["inspect", "stats", "-o", "json"],
        );
        let json: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
        let answer = json["record"]["answers"][0]["answerJson"].as_str();
        let stats: serde_json::Value = serde_json::from_str(answer.unwrap_or("null"))?;
        let processes = stats["pool"]["processes"].as_array().map(Vec::len);
        ensure!(processes == Some(3), "{processes:?} in {json}");
        Ok(())
    })
    .await;
    let id = shop
        .celery
        .run("print(nap.delay(600).id)")
        .trim()
        .to_owned();
    tty.keys("5");
    tty.shows("STARTED");
    tty.keys("\r");
    tty.shows(&format!("Task {id}"));
    tty.keys("ct");
    let screen = tty.shows("Send this command?");
    assert!(
        screen.contains(&id) && screen.contains("to all workers"),
        "{screen}"
    );
    tty.keys("y");
    tty.shows("celery@one");
    tty.shows("ok");
    eventually("the task is revoked", SOON, async || {
        let task = shop.aggregator.task(&id).await?;
        ensure!(task.state == "REVOKED", "{task:?}");
        Ok(())
    })
    .await;
}
