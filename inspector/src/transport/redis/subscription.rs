//! The subscription to events: subscribes, and checks that the connection lives.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::{sleep, timeout};

use super::super::TransportError;
use super::super::inbox::Inbox;
use super::super::reconnect::{Ended, Reconnect};
use super::link::{Dialer, Link};
use super::tap::Messages;
use crate::wire::topology::EventPatterns;

/// Keeps it alive; never ends.
pub(super) async fn keep(dialer: Arc<Dialer>, patterns: EventPatterns, inbox: Arc<Inbox>) {
    let mut reconnect = Reconnect::new(dialer.patience());
    loop {
        let ended = connection(&dialer, &patterns, &inbox).await;
        reconnect.after(ended, &inbox, false).await;
    }
}

async fn connection(dialer: &Dialer, patterns: &EventPatterns, inbox: &Arc<Inbox>) -> Ended {
    let mut link = match attach(dialer, patterns, inbox).await {
        Ok(link) => link,
        Err(error) => return Ended::from(error),
    };
    let since = Some(Instant::now());
    let error = watch(dialer, &mut link, inbox).await;
    link.shut().await;
    Ended { error, since }
}

/// Connects and subscribes. All patterns go into one command, which Redis runs as a whole: no message comes before its
/// first confirmation.
async fn attach(
    dialer: &Dialer,
    patterns: &EventPatterns,
    inbox: &Arc<Inbox>,
) -> Result<Link, TransportError> {
    let messages = Messages::new(Arc::clone(inbox), patterns);
    let link = dialer.dial(Some(Arc::new(messages))).await?;
    let speaker = link.speaker();
    let expected = std::slice::from_ref(&patterns.expected);
    let also: Vec<String> = patterns
        .older
        .iter()
        .chain(&patterns.also)
        .cloned()
        .collect();
    let all = [expected, &also].concat();
    if let Err(error) = speaker.psubscribe(&all).await {
        // An ACL user may be let to the channels of its app only, and one pattern too many refuses them all.
        let TransportError::Forbidden { .. } = error else {
            return Err(error);
        };
        speaker
            .psubscribe(expected)
            .await
            .map_err(|error| name_the_rule(error, &patterns.expected))?;
        for pattern in also.chunks(1) {
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

/// Waits until the connection is gone, also when nobody says so, or until another server is the master.
async fn watch(dialer: &Dialer, link: &mut Link, inbox: &Inbox) -> TransportError {
    let (speaker, patience) = (link.speaker(), dialer.patience());
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
        // A link that breaks meanwhile is noticed at the beginning of the next round.
        if let Some(error) = dialer.moved(link).await {
            return error;
        }
    }
}
