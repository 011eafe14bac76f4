//! Names against what real workers and clients did (`tests/fixtures`).

use std::collections::BTreeSet;

use serde::Deserialize;

use super::*;
use crate::wire::url::CertificateCheck;

const EVENTS: &str = include_str!("../../../../tests/fixtures/redis-events.jsonl");
const PIDBOX: &str = include_str!("../../../../tests/fixtures/redis-pidbox.jsonl");
const TASKS: &str = include_str!("../../../../tests/fixtures/redis-tasks.jsonl");
const COMPAT: &str = include_str!("../../../../tests/fixtures/redis-compat.jsonl");
const WORKER_START: &str =
    include_str!("../../../../tests/fixtures/redis-commands-worker-start.jsonl");

#[derive(Deserialize)]
struct Line {
    channel: Option<String>,
    key: Option<String>,
    #[serde(default)]
    args: Vec<String>,
}

fn lines(fixture: &str) -> impl Iterator<Item = Line> + '_ {
    fixture
        .lines()
        .map(|line| serde_json::from_str(line).expect("a fixture is JSON lines"))
}

fn commands(name: &'static str) -> impl Iterator<Item = Vec<String>> {
    lines(WORKER_START)
        .map(|line| line.args)
        .filter(move |args| args[0] == name)
}

fn topology(options: &[&str]) -> Topology {
    let options = TransportOptions::parse(options.iter().copied())
        .expect("the options of this test are valid");
    Topology::new(0, options)
}

/// Redis' own matching for the patterns made here: literal text with escapes, `*` at most at the end.
fn matches(pattern: &str, channel: &str) -> bool {
    let unescaped = |text: &str| {
        text.replace("\\[", "[")
            .replace("\\*", "*")
            .replace("\\\\", "\\")
    };
    match pattern.strip_suffix('*') {
        Some(prefix) if !prefix.ends_with('\\') => channel.starts_with(&unescaped(prefix)),
        _ => channel == unescaped(pattern),
    }
}

#[test]
fn every_recorded_event_is_matched_once() {
    let patterns = topology(&[]).event_patterns();
    let all: Vec<&String> = std::iter::once(&patterns.expected)
        .chain(&patterns.also)
        .collect();
    let channels: BTreeSet<String> = lines(EVENTS)
        .chain(lines(COMPAT))
        .filter_map(|line| line.channel)
        .filter(|channel| channel.contains("celeryev"))
        .collect();
    assert!(channels.len() >= 6, "{channels:?}");
    for channel in channels {
        assert!(matches(&patterns.expected, &channel), "{channel}");
        assert_eq!(
            all.iter()
                .filter(|pattern| matches(pattern, &channel))
                .count(),
            1,
            "{channel}"
        );
    }
}

#[test]
fn control_requests_go_where_workers_listen() {
    let topology = topology(&[]);
    let subscribed: BTreeSet<String> = commands("PSUBSCRIBE")
        .flat_map(|args| args[1..].to_vec())
        .collect();
    assert!(
        subscribed.contains(&topology.control_channel()),
        "{subscribed:?}"
    );
    let published: BTreeSet<String> = lines(PIDBOX).filter_map(|line| line.channel).collect();
    assert_eq!(published, BTreeSet::from([topology.control_channel()]));
    assert_eq!(topology.control_exchange(), "celery.pidbox");
}

#[test]
fn queue_keys_are_those_that_workers_pop() {
    let topology = topology(&[]);
    let popped = commands("BRPOP")
        .find(|args| args[1] == "celery")
        .expect("w1 pops its queues");
    // All queues of the most urgent step, then all of the next; the last argument is the time-out.
    let (celery, fast) = (topology.queue_keys("celery"), topology.queue_keys("fast"));
    let expected: Vec<&String> = celery
        .iter()
        .zip(&fast)
        .flat_map(|(a, b)| [&a.1, &b.1])
        .collect();
    assert_eq!(
        popped[1..popped.len() - 1].iter().collect::<Vec<_>>(),
        expected
    );

    let known: BTreeSet<String> = ["celery", "fast", "slow", "peek"]
        .iter()
        .flat_map(|queue| topology.queue_keys(queue))
        .map(|(_, key)| key)
        .collect();
    let pushed: BTreeSet<String> = lines(TASKS).filter_map(|line| line.key).collect();
    assert!(pushed.is_subset(&known), "{pushed:?}");
    assert!(pushed.contains("fast\u{6}\u{16}9"));
}

#[test]
fn bindings_of_real_workers_give_their_task_queues() {
    let topology = topology(&[]);
    let mut queues = BTreeSet::new();
    for args in commands("SADD") {
        let Some(exchange) = topology.binding_exchange(&args[1]) else {
            assert!(args[1].starts_with("_kombu.binding_permanent."), "{args:?}");
            continue;
        };
        assert_eq!(topology.binding_key(exchange), args[1]);
        let binding = topology
            .binding(&args[2])
            .expect("a binding has three fields");
        assert_eq!(
            topology.carries_tasks(exchange),
            topology.holds_tasks(binding.queue),
            "{args:?}"
        );
        if topology.carries_tasks(exchange) {
            assert_eq!(binding.routing_key, binding.queue);
            queues.insert(binding.queue.to_owned());
        }
    }
    assert_eq!(queues, ["celery", "fast", "slow"].map(str::to_owned).into());
}

#[test]
fn a_topic_binding_has_its_pattern() {
    let topology = topology(&[]);
    let binding = topology.binding("a.#\u{6}\u{16}^a\\..*?$\u{6}\u{16}extra2");
    let expected = Binding {
        routing_key: "a.#",
        pattern: "^a\\..*?$",
        queue: "extra2",
    };
    assert_eq!(binding, Some(expected));
    assert_eq!(topology.binding("a\u{6}\u{16}b"), None);
    assert_eq!(topology.binding("a\u{6}\u{16}\u{6}\u{16}"), None);
}

#[test]
fn a_key_prefix_is_on_keys_and_channels_but_not_in_reply_to() {
    let topology = Topology::new(
        3,
        TransportOptions::parse(["global_keyprefix=pfx:"]).expect("valid"),
    );
    assert_eq!(topology.control_channel(), "pfx:/3.celery.pidbox");
    assert_eq!(
        topology.event_patterns(),
        EventPatterns {
            expected: "pfx:/3.celeryev/*".to_owned(),
            older: None,
            also: ["pfx:/3.celeryev", "pfx:celeryev/*", "pfx:celeryev"]
                .map(str::to_owned)
                .into(),
        }
    );
    assert_eq!(topology.queue_keys("celery")[0].1, "pfx:celery");
    assert_eq!(topology.unacked_key().as_deref(), Some("pfx:unacked"));
    assert_eq!(
        topology.unacked_index_key().as_deref(),
        Some("pfx:unacked_index")
    );
    assert_eq!(topology.binding_key("celery"), "pfx:_kombu.binding.celery");
    assert_eq!(topology.binding_keys(), "pfx:_kombu.binding.*");
    assert_eq!(topology.binding_exchange("pfx:_kombu.binding.a"), Some("a"));
    assert_eq!(topology.binding_exchange("_kombu.binding.a"), None);
    let queue = topology.reply_queue("u-1");
    assert_eq!(queue, "celeriac.u-1.reply.celery.pidbox");
    assert_eq!(
        topology.reply_key(&queue),
        "pfx:celeriac.u-1.reply.celery.pidbox"
    );
}

#[test]
fn options_that_are_given_are_taken_at_their_word() {
    let off = topology(&["fanout_prefix=False", "fanout_patterns=false"]);
    assert_eq!(off.control_channel(), "celery.pidbox");
    assert_eq!(
        off.event_patterns(),
        EventPatterns {
            expected: "celeryev".to_owned(),
            older: None,
            also: vec!["celeryev/*".to_owned()]
        }
    );
    let on = topology(&["fanout_prefix=true"]).event_patterns();
    assert_eq!(
        (on.expected.as_str(), on.also),
        ("/0.celeryev/*", vec!["/0.celeryev".to_owned()])
    );
    let template = Topology::new(
        2,
        TransportOptions::parse(["fanout_prefix=/my{db}."]).expect("valid"),
    );
    assert_eq!(template.control_channel(), "/my2.celery.pidbox");

    let steps = topology(&[
        "sep=:",
        "priority_steps=[0, 1, 5]",
        "unacked_key=u",
        "ack_emulation=false",
    ]);
    let keys: Vec<String> = steps
        .queue_keys("celery")
        .into_iter()
        .map(|(_, key)| key)
        .collect();
    assert_eq!(keys, ["celery", "celery:1", "celery:5"]);
    assert_eq!(steps.unacked_key(), None);
    assert_eq!(
        steps.binding("k::q").map(|binding| binding.queue),
        Some("q")
    );

    let renamed = topology(&["sep=\"\\u0006\\u0016\"", "visibility_timeout=3600"])
        .with_control_exchange("shop")
        .with_event_exchange("shop[ev]*");
    assert_eq!(renamed.control_channel(), "/0.shop.pidbox");
    assert_eq!(renamed.event_patterns().expected, "/0.shop\\[ev\\]\\*/*");
    assert_eq!(renamed.reply_queue("u"), "celeriac.u.reply.shop.pidbox");
    assert!(!renamed.carries_tasks("shop[ev]*"));
    assert_eq!(renamed.queue_keys("q")[1].1, "q\u{6}\u{16}3");
}

#[test]
fn behind_sentinels_older_workers_are_reached_too() {
    let behind = |options: &[&str]| {
        let options = TransportOptions::parse(options.iter().copied()).expect("valid");
        Topology::new(2, options).behind_sentinels(true)
    };
    let usual = behind(&["global_keyprefix=p:"]);
    assert_eq!(usual.control_channel(), "p:/2.celery.pidbox");
    assert_eq!(
        usual.older_control_channel().as_deref(),
        Some("p:/{db}.celery.pidbox")
    );
    let patterns = usual.event_patterns();
    assert_eq!(patterns.expected, "p:/2.celeryev/*");
    assert_eq!(patterns.older.as_deref(), Some("p:/{db}.celeryev/*"));
    let also = [
        "p:/2.celeryev",
        "p:celeryev/*",
        "p:celeryev",
        "p:/{db}.celeryev",
    ];
    assert_eq!(patterns.also, also);

    let template = behind(&["fanout_prefix=/my{db}.", "fanout_patterns=false"]);
    assert_eq!(
        template.event_patterns().older.as_deref(),
        Some("/my{db}.celeryev")
    );
    // Without a database in it, the name is the same in every version.
    for options in ["fanout_prefix=false", "fanout_prefix=/my."] {
        let same = behind(&[options]);
        assert_eq!(same.older_control_channel(), None, "{options}");
        assert_eq!(same.event_patterns().older, None, "{options}");
    }
    let direct = Topology::new(2, TransportOptions::default());
    assert_eq!(direct.older_control_channel(), None);
}

#[test]
fn what_sentinels_are_asked_and_how_is_read_and_never_shown() {
    let options = TransportOptions::parse([
        "master_name=shop",
        "min_other_sentinels=1",
        "sentinel_fanout_compat=true",
        r#"sentinel_kwargs={"username": "alice", "password": "s3cret", "ssl": true, "ssl_ca_certs": "/ca.pem",
            "ssl_check_hostname": false, "socket_timeout": 5, "db": null}"#,
    ]);
    let options = options.expect("valid").sentinel;
    assert_eq!(options.master_name.as_deref(), Some("shop"));
    assert_eq!(
        (options.min_other_sentinels, options.fanout_compat),
        (1, true)
    );
    assert_eq!(options.username.as_deref(), Some("alice"));
    assert_eq!(options.password.as_deref(), Some("s3cret"));
    let tls = options.tls.as_ref().expect("it says ssl");
    assert_eq!(tls.certificate, CertificateCheck::Chain);
    assert_eq!(tls.ca_certs.as_deref(), Some("/ca.pem".as_ref()));
    assert!(!format!("{options:?}").contains("s3cret"));

    let kwargs = |json: &str| TransportOptions::parse([&*format!("sentinel_kwargs={json}")]);
    // redis-py checks certificates unless it is told not to, and uses none of the options without `ssl`.
    let tls = |json| kwargs(json).expect("valid").sentinel.tls;
    let checked = tls(r#"{"ssl": true}"#).expect("it says ssl");
    assert_eq!(checked.certificate, CertificateCheck::ChainAndHost);
    let unchecked = tls(r#"{"ssl": true, "ssl_cert_reqs": "none"}"#).expect("it says ssl");
    assert_eq!(unchecked.certificate, CertificateCheck::Off);
    assert_eq!(tls(r#"{"ssl_cert_reqs": "none"}"#), None);
    for wrong in [
        "",
        "s3cret",
        r#"{"password": 7}"#,
        r#"{"pasword": "s3cret"}"#,
        r#"{"ssl": true, "ssl_cert_reqs": "s3cret"}"#,
    ] {
        let error = kwargs(wrong).expect_err(wrong).to_string();
        assert!(error.contains("a JSON object"), "{wrong}: {error}");
        assert!(!error.contains("s3cret"), "{wrong}: {error}");
    }
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    for (text, part) in [
        ("global_keyprefix", "NAME=VALUE"),
        ("keyprefix=x", "known are global_keyprefix"),
        ("fanout_prefix=/{vhost}.", "only {db}"),
        ("fanout_prefix=/{db.", "only {db}"),
        ("fanout_patterns=maybe", "true or false"),
        ("sep=", "not empty"),
        ("sep=\"x", "JSON string"),
        ("priority_steps=3,0", "rising"),
        ("priority_steps=", "rising"),
        ("priority_steps=0,0", "rising"),
        ("priority_steps=0,999", "rising"),
        ("min_other_sentinels=few", "whole number"),
    ] {
        let error = TransportOptions::parse([text]).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn queues_that_hold_no_tasks_are_known_by_name() {
    let topology = topology(&[]);
    for queue in [
        "celery@w1.celery.pidbox",
        "celeryev",
        "celeryev.0a8b3c7f-cf37-4caf-86f3-ac6ec0e5e071",
        "celeriac.u.reply.celery.pidbox",
        "celery_delayed_27",
    ] {
        assert!(!topology.holds_tasks(queue), "{queue}");
    }
    for queue in ["celery", "celeryevents", "mail.replies", "w1.dq2"] {
        assert!(topology.holds_tasks(queue), "{queue}");
    }
}
