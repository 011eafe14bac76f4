//! `deploy/quickstart` as a newcomer runs it, and that it leaves nothing behind.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use celeriac_tests::{Celery, Process, Redis, Sentinels, eventually, paths, turn};
use nix::sys::signal::Signal;

/// A build from nothing takes minutes on two cores.
const BUILD_AND_RUN: Duration = Duration::from_mins(20);
const END: Duration = Duration::from_secs(30);

/// Starts it with a mark in its environment, by which everything that it starts can be found.
fn quickstart(mark: &str, arguments: &[&str]) -> Process {
    // A shell cannot trap what it inherits as ignored, as background jobs of a CI system inherit SIGINT.
    Process::start(
        "quickstart",
        paths::program("env", "coreutils"),
        |command| {
            paths::without_cargo_variables(command)
                .arg("--default-signal=INT")
                .arg(paths::root().join("deploy/quickstart"))
                .args(arguments)
                .env("CARGO_TARGET_DIR", paths::target())
                .env("QUICKSTART_MARK", mark);
        },
    )
}

/// Processes with the mark in their environment.
fn marked(mark: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    entries
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let environment = std::fs::read(folder.join("environ")).ok()?;
            let wanted = format!("QUICKSTART_MARK={mark}");
            let found = environment
                .split(|&byte| byte == 0)
                .any(|one| one == wanted.as_bytes());
            found.then(|| command_line(&folder))
        })
        .collect()
}

fn command_line(folder: &Path) -> String {
    let bytes = std::fs::read(folder.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

#[tokio::test]
async fn it_shows_a_busy_app_and_ends_by_itself_leaving_nothing() {
    let _turn = turn().await;
    let mark = uuid::Uuid::new_v4().to_string();
    let mut run = quickstart(&mark, &["--for", "20s"]);
    let status = eventually("it ends", BUILD_AND_RUN, async || {
        run.exited().ok_or_else(|| run.log())
    })
    .await;
    let output = run.log();
    assert!(status.success(), "{status}\n{output}");
    for word in [
        "front@demo",
        "back@demo",
        "orders",
        "mail",
        "media",
        "reports",
        "SUCCESS",
        "FAILURE",
    ] {
        assert!(output.contains(word), "no {word:?} in\n{output}");
    }
    assert!(
        output.contains("tasks --filter 'state = FAILURE' -o json"),
        "{output}"
    );
    assert_eq!(marked(&mark), Vec::<String>::new(), "still running");
}

/// Against an app that is there: behind Sentinels, which takes an option beside the URL.
#[tokio::test]
async fn it_shows_an_app_behind_sentinels() {
    let _turn = turn().await;
    let redis = Redis::start();
    let sentinels = Sentinels::builder(1).watch(redis.address());
    let options = serde_json::json!({"broker_transport_options": sentinels.celery_options()});
    let celery = Celery::new("5.7", &sentinels.url(0))
        .env("DEMO_BACKEND", "cache+memory://")
        .settings(&options);
    let _worker = celery.worker("shop").start().await;
    let _load = celery.start("import time\nwhile True:\n    add.delay(1, 1)\n    time.sleep(0.1)");
    let url = sentinels.url(0);
    let mut arguments = vec!["--for", "10s", "--broker", &url];
    let options = sentinels.options();
    for option in &options {
        arguments.extend(["--transport-option", option]);
    }
    let mark = uuid::Uuid::new_v4().to_string();
    let mut run = quickstart(&mark, &arguments);
    let status = eventually("it ends", BUILD_AND_RUN, async || {
        run.exited().ok_or_else(|| run.log())
    })
    .await;
    let output = run.log();
    assert!(status.success(), "{status}\n{output}");
    for word in ["celery@shop", "celery", "fork", "SUCCESS"] {
        assert!(output.contains(word), "no {word:?} in\n{output}");
    }
    assert_eq!(marked(&mark), Vec::<String>::new(), "still running");
}

#[tokio::test]
async fn an_interrupt_stops_all_that_it_started() {
    let _turn = turn().await;
    let mark = uuid::Uuid::new_v4().to_string();
    let mut run = quickstart(&mark, &[]);
    eventually("it shows tasks", BUILD_AND_RUN, async || {
        let output = run.log();
        ensure!(run.exited().is_none(), "it ended: {output}");
        ensure!(output.contains("2 workers online"), "{output}");
        Ok(())
    })
    .await;
    assert!(
        marked(&mark).len() > 5,
        "redis, two workers, beat, Celeriac: {:?}",
        marked(&mark)
    );
    run.signal(Signal::SIGINT);
    eventually("it ends", END, async || run.exited().ok_or("it still runs")).await;
    assert_eq!(marked(&mark), Vec::<String>::new(), "still running");
}

#[test]
fn it_explains_itself_and_refuses_what_it_does_not_know() {
    let program = paths::root().join("deploy/quickstart");
    let help = std::process::Command::new(&program)
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(
        text.contains("--for") && text.contains("--broker"),
        "{text}"
    );
    for arguments in [["--fro", "30s"], ["--for", "soon"]] {
        let refused = std::process::Command::new(&program)
            .args(arguments)
            .output()
            .unwrap();
        assert!(!refused.status.success(), "{arguments:?}");
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(
            text.contains(arguments[1]) || text.contains(arguments[0]),
            "{text}"
        );
    }
}
