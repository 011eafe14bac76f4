//! What is wrong, is said: brokers that cannot be used, and messages that cannot be read. Never a crash, never a silent skip.

use std::time::Duration;

use anyhow::ensure;
use celeriac_proto::v1::{App, Task};
use celeriac_tests::product::run_to_end;
use celeriac_tests::wire::{envelope, event, publish, publish_json};
use celeriac_tests::{Aggregator, Redis, eventually, redis};
use serde_json::json;
use tempfile::TempDir;

const SECRET: &str = "s3cr3t-hunter2";
const SOON: Duration = Duration::from_secs(20);
/// Longer text than this is cut (DESIGN: what the inspector keeps).
const TEXT_BYTES_MAX: usize = 64 * 1024;

#[test]
fn a_url_that_no_broker_has_is_refused_at_start() {
    for (url, words) in [
        ("http://localhost:6379/0", ["http", "redis"]),
        ("sqs://localhost", ["sqs", "redis"]),
        ("localhost:6379", ["scheme", "redis"]),
        ("redis://localhost:notaport/0", ["port", "number"]),
        ("redis://localhost:6379/notadb", ["database", "number"]),
    ] {
        let url = url.replace("://", &format!("://user:{SECRET}@"));
        let data = TempDir::new().unwrap();
        let folder = data
            .path()
            .to_str()
            .expect("temporary folders have UTF-8 names");
        let (status, output) = run_to_end(
            "celeriac-aggregator",
            ("CELERIAC_AGGREGATOR_BROKER", &url),
            &[
                "--listen",
                &redis::free_address().to_string(),
                "--data-dir",
                folder,
            ],
        );
        assert!(
            status.is_some_and(|status| status != 0),
            "{url}: {status:?}\n{output}"
        );
        for word in words {
            assert!(output.contains(word), "{url}: no {word:?} in\n{output}");
        }
        assert!(
            !output.contains(SECRET),
            "{url}: the password is shown\n{output}"
        );
        assert!(!output.contains("panicked"), "{output}");
    }
}

#[tokio::test]
async fn a_broker_that_cannot_be_used_is_shown_with_its_reason() {
    // Nobody listens there. A port that is free now may be another test's in a moment.
    let closed = "127.0.0.1:1";
    let guarded = Redis::builder().password(SECRET).start();
    let open = Redis::start();
    let host = guarded.address();
    for (url, word) in [
        (format!("redis://:{SECRET}@{closed}/0"), "refused"),
        (format!("redis://:wrong-{SECRET}@{host}/0"), "password"),
        (format!("redis://{host}/0"), "password"),
        (open.url_db(99), "99"),
        (
            format!("redis://:{SECRET}@no-such-host.invalid:6379/0"),
            "no-such-host.invalid",
        ),
    ] {
        let aggregator = Aggregator::builder().broker(&url).start().await;
        let broker = eventually("the reason is shown", SOON, async || {
            let broker = aggregator.app().await?.broker.unwrap_or_default();
            let reason = broker.unreachable_reason.clone().unwrap_or_default();
            ensure!(!broker.reachable && !reason.is_empty(), "{broker:?}");
            Ok(broker)
        })
        .await;
        let reason = broker.unreachable_reason.clone().unwrap_or_default();
        assert!(
            reason.to_lowercase().contains(word),
            "no {word:?} in {reason:?}"
        );
        let shown = format!("{broker:?} {}", aggregator.process.log());
        assert!(!shown.contains(SECRET), "the password is shown: {shown}");
        let (status, _) = aggregator.get("/livez").expect("it serves");
        assert_eq!(status, 200);
    }
}

/// How many rejections speak of something, in their reason or their sample.
fn rejected(app: &App, word: &str) -> u64 {
    let speaks = |text: &str| text.contains(word);
    app.rejections
        .iter()
        .filter(|rejection| {
            speaks(&rejection.reason) || rejection.sample.as_deref().is_some_and(speaks)
        })
        .map(|rejection| rejection.count)
        .sum()
}

/// What the rejections speak of, and how often.
const EXPECTED: [(&str, u64); 7] = [
    ("envelope", 2),
    ("body is not JSON", 1),
    ("body is not base64", 1),
    ("application/x-python-serialize is never read", 1),
    ("text/xml", 1),
    ("event is not an object", 2),
    ("event without a readable type", 1),
];

#[tokio::test]
async fn messages_that_cannot_be_read_are_counted_and_the_next_one_is_read() {
    let redis = Redis::start();
    let aggregator = Aggregator::on(&redis.url()).await;
    let good = event("worker-heartbeat", "celery@good", 1, &json!({"freq": 2.0}));
    let whole = envelope(good.to_string().as_bytes(), "application/json", "utf-8");
    // A pickled empty dict: never unpickled.
    let pickle = envelope(
        b"\x80\x04}\x94.",
        "application/x-python-serialize",
        "binary",
    );
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: [(&str, String); 9] = [
        ("not JSON at all", "event, please".to_owned()),
        ("truncated envelope", whole[..whole.len() / 2].to_owned()),
        (
            "truncated body",
            envelope(b"{\"type\": \"task-", "application/json", "utf-8"),
        ),
        ("not base64", whole.replace("\"body\":\"", "\"body\":\"%%%")),
        ("pickle", pickle),
        (
            "unknown content type",
            envelope(b"<a/>", "text/xml", "utf-8"),
        ),
        (
            "a number for an event",
            envelope(b"42", "application/json", "utf-8"),
        ),
        (
            "an event without a type",
            envelope(b"{\"hostname\": \"h\"}", "application/json", "utf-8"),
        ),
        (
            "too deep",
            envelope(deep.as_bytes(), "application/json", "utf-8"),
        ),
    ];
    for (_what, payload) in &cases {
        publish(&redis, payload);
    }
    // The inspector reports what it rejected every 10 s.
    let app = eventually("each is counted once", SOON, async || {
        let app = aggregator.app().await?;
        let count: u64 = app.rejections.iter().map(|rejection| rejection.count).sum();
        ensure!(count == cases.len() as u64, "{count}: {:?}", app.rejections);
        Ok(app)
    })
    .await;
    for (word, count) in EXPECTED {
        assert_eq!(rejected(&app, word), count, "{word}: {:?}", app.rejections);
    }
    for rejection in &app.rejections {
        let sample = rejection.sample.as_deref().unwrap_or_default();
        assert!(sample.chars().count() <= 256, "{rejection:?}");
        assert!(!sample.chars().any(char::is_control), "{rejection:?}");
    }

    publish(&redis, &whole);
    eventually("a good event is still read", SOON, async || {
        aggregator.worker("celery@good").await.map(|_| ())
    })
    .await;
}

/// Publishes task events as one array, which is how workers send them, and waits for the task.
async fn shown(aggregator: &Aggregator, redis: &Redis, id: &str, body: &str, state: &str) -> Task {
    publish_json(redis, body);
    eventually("the task is shown", SOON, async || {
        let task = aggregator.task(id).await?;
        ensure!(task.state == state, "{}", task.state);
        Ok(task)
    })
    .await
}

#[tokio::test]
async fn odd_values_are_kept_cut_and_flagged() {
    let redis = Redis::start();
    let aggregator = Aggregator::on(&redis.url()).await;
    let host = "celery@odd";

    let long = "é".repeat(2_500_000);
    let body = json!([event(
        "task-succeeded",
        host,
        1,
        &json!({"uuid": "long", "result": long})
    )]);
    let task = shown(&aggregator, &redis, "long", &body.to_string(), "SUCCESS").await;
    let payload = task.payload.expect("the full view has a payload");
    let kept = payload.result.expect("the beginning is kept");
    assert!(
        kept.len() <= TEXT_BYTES_MAX && kept.len() > TEXT_BYTES_MAX / 2,
        "{}",
        kept.len()
    );
    let [cut] = payload.truncations.as_slice() else {
        panic!("one text was cut: {:?}", payload.truncations);
    };
    assert_eq!(
        (cut.field.as_str(), cut.original_bytes),
        ("result", 5_000_000)
    );

    // Python's json module writes NaN and lone surrogates; JSON has neither.
    let nan = r#"[{"type": "task-succeeded", "hostname": "celery@odd", "pid": 1, "clock": 2, "timestamp": 1800000000.5,
        "uuid": "nan", "result": "\ud83d", "runtime": NaN}]"#;
    let task = shown(&aggregator, &redis, "nan", nan, "SUCCESS").await;
    assert_eq!(task.runtime, None);
    let payload = task.payload.expect("the full view has a payload");
    assert_eq!(payload.result.as_deref(), Some("\u{fffd}"));
    let mut flagged = payload.sanitized_fields;
    flagged.sort();
    assert_eq!(flagged, ["result", "runtime"]);
}

#[tokio::test]
async fn odd_types_and_names_are_shown_as_they_are() {
    let redis = Redis::start();
    let aggregator = Aggregator::on(&redis.url()).await;
    let host = "celery@odd";
    let custom = json!([event(
        "task-frobnicated",
        host,
        3,
        &json!({"uuid": "odd", "depth": [1, {"a": null}]})
    )]);
    let task = shown(
        &aggregator,
        &redis,
        "odd",
        &custom.to_string(),
        "FROBNICATED",
    )
    .await;
    assert_eq!(
        task.custom_fields
            .get("depth")
            .map(|text| text.replace(' ', "")),
        Some(r#"[1,{"a":null}]"#.to_owned())
    );

    let unknown = event("gadget-exploded", host, 4, &json!({"how": "loudly"}));
    publish_json(&redis, &unknown.to_string());
    for name in [
        "celery@wörk er häst",
        "celery@\u{1f955}\n\"quoted\"",
        "no-at-sign",
    ] {
        let heartbeat = event(
            "worker-heartbeat",
            name,
            5,
            &json!({"freq": 2.0, "active": 0, "processed": 0}),
        );
        publish_json(&redis, &heartbeat.to_string());
        eventually("a worker with an odd name is shown", SOON, async || {
            aggregator
                .worker(name)
                .await
                .map(|worker| assert_eq!(worker.name, name))
        })
        .await;
    }
    let (status, metrics) = aggregator.get("/metrics").expect("it serves");
    assert_eq!(status, 200);
    // A label value may not break its line.
    let lines = metrics
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in lines {
        let value = line
            .rsplit_once(' ')
            .map(|(_, value)| value.parse::<f64>().is_ok());
        assert_eq!(value, Some(true), "not a sample: {line:?}");
    }
    let rejections = aggregator.app().await.expect("it serves").rejections;
    assert!(
        rejections.is_empty(),
        "all of it can be read: {rejections:?}"
    );
}
