//! Keeps the subscription to events alive: subscribes, checks that the connection lives, reconnects, for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use tokio::time::{sleep, timeout};

use super::super::TransportError;
use super::super::inbox::Inbox;
use super::Patience;
use super::link::{Dialer, Link};
use crate::wire::topology::EventPatterns;

/// A connection that lived shorter than this was no success: the pauses go on growing, so that a server which accepts and
/// closes at once is not hammered.
const SETTLED: Duration = Duration::from_secs(10);

/// Takes what the server pushes, on the connection's own task: must not wait.
struct Pushes {
    inbox: Arc<Inbox>,
    /// The pattern with whose confirmation messages flow.
    expected: String,
    /// It was said that events come by another pattern.
    elsewhere_told: AtomicBool,
}

impl AsyncPushSender for Pushes {
    fn send(&self, mut push: PushInfo) -> Result<(), SendError> {
        match push.kind {
            // [pattern, channel, payload]
            PushKind::PMessage => {
                if let Some(Value::BulkString(payload)) = push.data.pop() {
                    self.inbox.offer(payload);
                }
                self.check_pattern(push.data.first());
            }
            // [pattern, number of subscriptions]
            PushKind::PSubscribe if self.is_expected(push.data.first()) => self.inbox.live(),
            _ => {}
        }
        Ok(())
    }
}

impl Pushes {
    fn is_expected(&self, pattern: Option<&Value>) -> bool {
        matches!(pattern, Some(Value::BulkString(pattern)) if *pattern == self.expected.as_bytes())
    }

    /// Workers with other options than were given here are seen, but listen elsewhere for control requests.
    fn check_pattern(&self, pattern: Option<&Value>) {
        if !self.is_expected(pattern) && !self.elsewhere_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                expected = self.expected,
                seen = ?pattern,
                "events come where they are not expected: give the app's own fanout_prefix and fanout_patterns as \
                 --transport-option, otherwise its workers may not get control requests"
            );
        }
    }
}

/// Never ends. A loss is told once, and again when its reason changes while it lasts.
pub(super) async fn keep(dialer: Arc<Dialer>, patterns: EventPatterns, inbox: Arc<Inbox>) {
    let pauses = pauses(dialer.patience());
    let mut pause = pauses.build();
    let mut told: Option<String> = None;
    loop {
        let error = match attach(&dialer, &patterns, &inbox).await {
            Ok(mut link) => {
                let since = Instant::now();
                told = None;
                let error = watch(&mut link, &inbox, dialer.patience()).await;
                link.shut().await;
                if since.elapsed() >= SETTLED {
                    pause = pauses.build();
                }
                error
            }
            Err(error) => error,
        };
        let reason = error.to_string();
        if told.as_ref() != Some(&reason) {
            told = Some(reason);
            inbox.lost(error);
        }
        sleep(pause.next().unwrap_or(dialer.patience().retry_max)).await;
    }
}

fn pauses(patience: Patience) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(patience.retry_min)
        .with_max_delay(patience.retry_max)
        .with_jitter()
        .without_max_times()
}

/// Connects and subscribes. All patterns go into one command, which Redis runs as a whole: no message comes before its
/// first confirmation.
async fn attach(
    dialer: &Dialer,
    patterns: &EventPatterns,
    inbox: &Arc<Inbox>,
) -> Result<Link, TransportError> {
    let pushes = Pushes {
        inbox: Arc::clone(inbox),
        expected: patterns.expected.clone(),
        elsewhere_told: AtomicBool::new(false),
    };
    let link = dialer.dial(Some(Arc::new(pushes))).await?;
    let speaker = link.speaker();
    let expected = std::slice::from_ref(&patterns.expected);
    let all = [expected, &patterns.also].concat();
    if let Err(error) = speaker.psubscribe(&all).await {
        // An ACL user may be let to the channels of its app only, and one pattern too many refuses them all.
        let TransportError::Forbidden { .. } = error else {
            return Err(error);
        };
        speaker
            .psubscribe(expected)
            .await
            .map_err(|error| name_the_rule(error, &patterns.expected))?;
        for pattern in patterns.also.chunks(1) {
            match speaker.psubscribe(pattern).await {
                Err(error @ TransportError::Forbidden { .. }) => {
                    tracing::debug!(%error, ?pattern, "not subscribed");
                }
                other => other?,
            }
        }
    }
    Ok(link)
}

/// Redis compares a pattern with its ACL rules as text: `&/0.*` does not allow `/0.celeryev/*`.
fn name_the_rule(error: TransportError, pattern: &str) -> TransportError {
    match error {
        TransportError::Forbidden {
            endpoint,
            action,
            reason,
        } => {
            let reason = format!("{reason}; its ACL rule is the pattern itself: &{pattern}");
            TransportError::Forbidden {
                endpoint,
                action,
                reason,
            }
        }
        other => other,
    }
}

/// Waits until the connection is gone, also when nobody says so.
async fn watch(link: &mut Link, inbox: &Inbox, patience: Patience) -> TransportError {
    let speaker = link.speaker();
    let ping = redis::cmd("PING");
    loop {
        tokio::select! {
            error = link.closed() => return error,
            () = sleep(patience.ping_every) => {}
        }
        let received = inbox.received();
        tokio::select! {
            error = link.closed() => return error,
            answer = timeout(patience.ping_answer, speaker.ask::<()>("PING", &ping)) => match answer {
                Ok(Ok(())) => {}
                // Behind a flood of messages the answer takes long; the messages show that the connection lives.
                Ok(Err(TransportError::Timeout { .. })) | Err(_) if inbox.received() != received => {}
                Ok(Err(error)) => return error,
                Err(_) => return speaker.timed_out("PING", patience.ping_answer),
            }
        }
    }
}
