//! `tail` over a broker in memory.

use serde_json::json;

use super::*;
use crate::args::NameOptions;
use crate::transport::fake::FakeTransport;
use crate::wire::url::BrokerUrl;

fn config(output: Output) -> TailConfig {
    TailConfig {
        broker: BrokerUrl::parse("redis://broker/0").expect("it is a URL"),
        names: NameOptions::default().try_into().expect("they are valid"),
        output,
        filter: Filter::default(),
        count: None,
        duration: None,
    }
}

fn event(event_type: &str, uuid: &str, name: Option<&str>) -> Frame {
    let event = json!({"type": event_type, "hostname": "celery@w1", "uuid": uuid, "name": name});
    Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: event.to_string().into_bytes(),
    }
}

fn unreachable() -> TransportError {
    TransportError::Unreachable {
        endpoint: "fake".into(),
        reason: "refused".into(),
    }
}

fn refused() -> TransportError {
    TransportError::Credentials {
        endpoint: "fake".into(),
        reason: "WRONGPASS".into(),
    }
}

/// Runs `tail` until it ends by itself, and gives what it printed.
async fn printed(config: &TailConfig, broker: &FakeTransport) -> (Result<(), TailError>, String) {
    let mut out = Vec::new();
    let ended = tail_over(config, broker, &mut out, CancellationToken::new()).await;
    (ended, String::from_utf8(out).expect("lines are UTF-8"))
}

#[tokio::test]
async fn it_ends_after_the_count_and_cleans_up() {
    let broker = FakeTransport::new();
    broker.live(1).await;
    for uuid in ["a", "b", "c"] {
        broker.deliver(event("task-started", uuid, None), 2).await;
    }
    let config = TailConfig {
        count: Some(2),
        ..config(Output::Json)
    };
    let (ended, out) = printed(&config, &broker).await;
    ended.expect("it saw enough");
    let uuids: Vec<String> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("lines are JSON"))
        .map(|event| event["uuid"].as_str().expect("a task's event").to_owned())
        .collect();
    assert_eq!(uuids, ["a", "b"]);
    assert!(broker.is_closed());
    assert_eq!(broker.take_published(), vec![], "nobody was asked anything");
}

#[tokio::test]
async fn tasks_are_found_by_a_name_that_an_earlier_event_told() {
    let broker = FakeTransport::new();
    broker.live(1).await;
    broker
        .deliver(event("task-received", "a", Some("shop.pay")), 2)
        .await;
    broker
        .deliver(event("task-received", "b", Some("mail.send")), 2)
        .await;
    broker.deliver(event("task-started", "b", None), 2).await;
    broker.deliver(event("task-started", "a", None), 2).await;
    let filter = Filter {
        tasks: vec!["shop.*".into()],
        ..Filter::default()
    };
    let config = TailConfig {
        filter,
        count: Some(2),
        ..config(Output::Human)
    };
    let (ended, out) = printed(&config, &broker).await;
    ended.expect("it saw enough");
    assert_eq!(out.matches("shop.pay[a]").count(), 2, "{out}");
    assert!(!out.contains("[b]"), "{out}");
}

#[tokio::test]
async fn it_ends_after_the_time() {
    let broker = FakeTransport::new();
    broker.live(1).await;
    let config = TailConfig {
        duration: Some(Duration::from_millis(50)),
        ..config(Output::Human)
    };
    let (ended, out) = printed(&config, &broker).await;
    ended.expect("time is up");
    assert_eq!(out, "");
}

#[tokio::test]
async fn a_broker_that_is_not_there_ends_it_at_once() {
    let broker = FakeTransport::new();
    broker.lose(unreachable(), 1).await;
    let (ended, _) = printed(&config(Output::Human), &broker).await;
    assert_eq!(ended.unwrap_err().to_string(), "cannot reach fake: refused");
}

#[tokio::test]
async fn a_lost_broker_is_waited_for_unless_it_refuses_for_good() {
    let broker = FakeTransport::new();
    broker.live(1).await;
    broker.lose(unreachable(), 2).await;
    broker.live(3).await;
    broker.deliver(event("task-started", "a", None), 4).await;
    broker.lose(refused(), 5).await;
    let (ended, out) = printed(&config(Output::Human), &broker).await;
    assert!(matches!(
        ended,
        Err(TailError::Broker(TransportError::Credentials { .. }))
    ));
    assert_eq!(out.lines().count(), 1);
}

#[tokio::test]
async fn a_reader_that_went_away_is_no_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let broker = FakeTransport::new();
    broker.live(1).await;
    broker.deliver(event("task-started", "a", None), 4).await;
    let config = config(Output::Human);
    tail_over(&config, &broker, Gone, CancellationToken::new())
        .await
        .expect("it just ends");
    assert!(broker.is_closed());
}
