//! Depths, discovery, version.

use celeriac_inspector::transport::Transport;
use serde::Deserialize;

use super::server::{Server, run};
use super::{transport, transport_with};

const TASKS: &str = include_str!("../../../tests/fixtures/redis-tasks.jsonl");
const WORKER_START: &str =
    include_str!("../../../tests/fixtures/redis-commands-worker-start.jsonl");

#[derive(Deserialize)]
struct Line {
    key: Option<String>,
    payload: Option<String>,
    #[serde(default)]
    args: Vec<String>,
}

fn lines(fixture: &str) -> impl Iterator<Item = Line> + '_ {
    fixture
        .lines()
        .map(|line| serde_json::from_str(line).expect("a fixture is JSON lines"))
}

fn names(queues: &[&str]) -> Vec<String> {
    queues.iter().map(|&queue| queue.to_owned()).collect()
}

#[tokio::test]
async fn recorded_tasks_are_counted_by_queue_and_priority() {
    let server = Server::start();
    let transport = transport(&server.url());
    let mut client = server.client(0);
    for line in lines(TASKS) {
        let (key, payload) = (
            line.key.expect("a push has a key"),
            line.payload.expect("a push has a payload"),
        );
        run::<i64>(&mut client, &["LPUSH", &key, &payload]);
    }
    for tag in ["a", "b"] {
        run::<i64>(&mut client, &["HSET", "unacked", tag, "[]"]);
    }
    let asked = names(&["peek", "none", "fast", "celery"]);
    let reading = transport.depths(&asked).await.expect("the server runs");
    let ready: Vec<_> = reading
        .queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue.ready.clone()))
        .collect();
    // Pushes in the recording: peek 11 + 1 + 1, fast 2 + 1, celery 35.
    let expected = [
        ("peek", vec![(0, 11), (3, 1), (6, 0), (9, 1)]),
        ("none", vec![(0, 0), (3, 0), (6, 0), (9, 0)]),
        ("fast", vec![(0, 2), (3, 0), (6, 0), (9, 1)]),
        ("celery", vec![(0, 35), (3, 0), (6, 0), (9, 0)]),
    ];
    assert_eq!(ready, expected);
    assert_eq!(reading.unacked_total, Some(2));
    assert!(reading.read_micros > 1_700_000_000_000_000);
    assert!(
        reading
            .queues
            .iter()
            .all(|queue| queue.oldest_micros.is_none() && queue.unacked.is_none())
    );
}

#[tokio::test]
async fn more_queues_than_fit_one_question_come_in_order() {
    let server = Server::start();
    let transport = transport_with(
        &server.url(),
        &["ack_emulation=false", "priority_steps=0,5", "sep=:"],
    );
    let mut client = server.client(0);
    let queues: Vec<String> = (0..1201).map(|number| format!("q{number}")).collect();
    run::<i64>(&mut client, &["LPUSH", "q1200:5", "a", "b"]);
    run::<i64>(&mut client, &["LPUSH", "q0", "a"]);
    let reading = transport.depths(&queues).await.expect("the server runs");
    assert_eq!(
        reading
            .queues
            .iter()
            .map(|queue| queue.name.clone())
            .collect::<Vec<_>>(),
        queues
    );
    assert_eq!(reading.queues[0].ready, [(0, 1), (5, 0)]);
    assert_eq!(reading.queues[1200].ready, [(0, 0), (5, 2)]);
    assert_eq!(reading.unacked_total, None);
}

#[tokio::test]
async fn queues_of_real_workers_are_discovered() {
    let server = Server::start();
    let transport = transport(&server.url());
    let mut client = server.client(0);
    for line in lines(WORKER_START).filter(|line| line.args[0] == "SADD") {
        run::<i64>(
            &mut client,
            &line.args.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
    for number in 0..3000 {
        run::<()>(
            &mut client,
            &["SET", &format!("celery-task-meta-{number}"), "{}"],
        );
    }
    run::<i64>(
        &mut client,
        &[
            "SADD",
            "_kombu.binding.ex2",
            "a.#\u{6}\u{16}^a\\..*?$\u{6}\u{16}extra2",
        ],
    );
    run::<i64>(
        &mut client,
        &[
            "SADD",
            "_kombu.binding.celery_delayed_delivery",
            "#\u{6}\u{16}\u{6}\u{16}celery_delayed_0",
        ],
    );
    run::<i64>(
        &mut client,
        &[
            "SADD",
            "pfx:_kombu.binding.mail",
            "mail\u{6}\u{16}\u{6}\u{16}mail",
        ],
    );
    run::<i64>(&mut client, &["LPUSH", "_kombu.binding.list", "not a set"]);
    let found = transport.discover_queues().await.expect("the server runs");
    assert_eq!(found, ["celery", "extra2", "fast", "slow"]);
    let prefixed = transport_with(&server.url(), &["global_keyprefix=pfx:"]);
    assert_eq!(
        prefixed.discover_queues().await.expect("the server runs"),
        ["mail"]
    );
}

#[tokio::test]
async fn the_version_is_told_to_every_user() {
    let server = Server::start();
    let mut client = server.client(0);
    run::<()>(
        &mut client,
        &[
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "-@all", "+llen",
        ],
    );
    let transport = transport(&format!("redis://app:pw@127.0.0.1:{}/0", server.port));
    let version = transport
        .server_version()
        .await
        .expect("HELLO is allowed to everybody");
    let info: String = run(&mut client, &["INFO", "server"]);
    let number = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))
        .expect("INFO tells it");
    assert_eq!(version, format!("redis {number}"));
}
