//! Watches: they go on after the aggregator dies, and do not pretend.

use std::time::Duration;

use celeriac_client::v1::watch_response::Message;
use celeriac_client::{Client, Code, Error, Update, Watch, v1};
use futures_util::StreamExt as _;
use tonic::Status;

use crate::fake::{Fake, Script, changed, task};

fn beginning() -> Vec<Message> {
    vec![
        Message::SnapshotBegin(v1::SnapshotBegin {}),
        Message::SnapshotEnd(v1::SnapshotEnd { items: 0 }),
        changed(task("t1", "STARTED")),
    ]
}

fn fake() -> Fake {
    Fake::start(Script {
        messages: beginning(),
        ..Script::default()
    })
}

/// The next token, and how often the stream broke before it came.
async fn next_token(watch: &mut Watch) -> (String, usize) {
    let mut interruptions = 0;
    loop {
        let update = tokio::time::timeout(Duration::from_secs(20), watch.next())
            .await
            .expect("something comes in time")
            .expect("no final error");
        match update {
            Update::Message(message) => return (message.resume_token, interruptions),
            Update::Interrupted { error, .. } => {
                assert!(error.is_transient(), "{error:?}");
                interruptions += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_where_it_stopped_when_the_aggregator_dies_and_comes_back() {
    let mut fake = fake();
    let mut watch = fake.client().watch(v1::WatchRequest::default());
    for token in ["1", "2", "3"] {
        assert_eq!(next_token(&mut watch).await, (token.to_owned(), 0));
    }
    fake.kill();
    fake.say(changed(task("t1", "SUCCESS")));
    let update = watch.next().await.expect("a break is no end");
    let Update::Interrupted { error, retry_in } = update else {
        panic!("{update:?}")
    };
    assert!(
        matches!(error, Error::Broken { .. } | Error::Unreachable { .. }),
        "{error:?}"
    );
    assert!(retry_in <= Duration::from_secs(1), "{retry_in:?}");
    // While nobody listens it says so each time it tries.
    let update = watch.next().await.expect("a break is no end");
    let Update::Interrupted { error, .. } = update else {
        panic!("{update:?}")
    };
    assert!(error.to_string().contains("connection refused"), "{error}");
    fake.revive();
    let (token, _) = next_token(&mut watch).await;
    assert_eq!(token, "4", "nothing is lost and nothing comes twice");
    assert_eq!(watch.resume_token(), "4");
    let calls = fake.script().calls.clone();
    assert_eq!(calls, [r#"watch """#, r#"watch "3""#]);
}

#[tokio::test]
async fn a_silent_stream_is_taken_for_dead() {
    let fake = fake();
    let client = Client::builder(fake.address())
        .watch_silence(Duration::from_millis(200))
        .build()
        .expect("no TLS, no token");
    let mut watch = client.watch(v1::WatchRequest::default());
    for token in ["1", "2", "3"] {
        assert_eq!(next_token(&mut watch).await.0, token);
    }
    let update = watch.next().await.expect("silence is no end");
    let silent = matches!(
        &update,
        Update::Interrupted {
            error: Error::Deadline { .. },
            ..
        }
    );
    assert!(silent, "{update:?}");
    fake.say(Message::Heartbeat(v1::Heartbeat {}));
    assert_eq!(next_token(&mut watch).await.0, "4");
}

#[tokio::test]
async fn dropping_a_pending_next_loses_nothing() {
    let fake = fake();
    let mut watch = fake.client().watch(v1::WatchRequest::default());
    let mut tokens = Vec::new();
    for round in 4..12 {
        fake.say(changed(task(&format!("t{round}"), "STARTED")));
    }
    while tokens.len() < 11 {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            update = watch.next() => match update.expect("no error") {
                Update::Message(message) => tokens.push(message.resume_token),
                Update::Interrupted { error, .. } => panic!("{error:?}"),
            }
        }
        // Polls `next` once and drops it, whatever it was doing.
        tokio::select! {
            biased;
            update = watch.next() => match update.expect("no error") {
                Update::Message(message) => tokens.push(message.resume_token),
                Update::Interrupted { error, .. } => panic!("{error:?}"),
            },
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    let want: Vec<_> = (1..=11).map(|token| token.to_string()).collect();
    assert_eq!(tokens, want);
}

#[tokio::test]
async fn a_wrong_address_is_no_watch() {
    let mut fake = fake();
    fake.kill();
    let mut watch = fake.client().watch(v1::WatchRequest::default());
    let error = watch.next().await.expect_err("nobody has ever been there");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    fake.revive();
    assert_eq!(
        next_token(&mut watch).await.0,
        "1",
        "and it can be tried again"
    );
}

#[tokio::test]
async fn a_refusal_ends_the_stream() {
    let fake = fake();
    fake.script()
        .refusals
        .push_back(Status::invalid_argument("task_filter: unknown field"));
    let updates: Vec<_> = fake
        .client()
        .watch(v1::WatchRequest::default())
        .into_stream()
        .collect()
        .await;
    assert_eq!(updates.len(), 1);
    let error = updates
        .into_iter()
        .next()
        .expect("one")
        .expect_err("an error");
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.to_string(), "task_filter: unknown field");
}
