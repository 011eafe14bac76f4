//! Keeps the subscription to events alive: subscribes, checks that the connection lives, reconnects, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{sleep, timeout};

use super::super::TransportError;
use super::super::inbox::Inbox;
use super::Patience;
use super::link::{Dialer, Link};
use super::tap::Messages;
use crate::wire::topology::EventPatterns;

/// A connection that lived shorter than this was no success: the pauses go on growing, so that a server which accepts and
/// closes at once is not hammered.
const SETTLED: Duration = Duration::from_secs(10);

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
            inbox.lost(error, false);
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
    let messages = Messages::new(Arc::clone(inbox), patterns.expected.clone());
    let link = dialer.dial(Some(Arc::new(messages))).await?;
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
