//! Whether the numbers of an app are true now, and if not, since when and why.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::picture::{App, Broker, Picture};
use crate::crd::status::Truth;
use crate::report::Fact;

/// The condition that says whether an app's numbers are true now.
pub const OBSERVED: &str = "Observed";

/// The condition of a broker that says whether its app's inspector reaches it.
pub const REACHABLE: &str = "Reachable";

/// A picture that is older is not the present: two rounds of questions have failed, and the third is late.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(15);

/// What is known of all apps, and of the way to know it.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Whether there is an aggregator to ask.
    pub asks: bool,
    /// The last picture.
    pub picture: Option<Arc<Picture>>,
    /// Why the last round of questions failed, if it did.
    pub failure: Option<String>,
    /// When questions began.
    pub began: Timestamp,
}

/// What is known of one app: the condition, and the app where its numbers are true now. `None`: it is too early to say.
pub fn observe<'k>(
    known: &'k Known,
    now: Timestamp,
    app: &str,
    inspected: bool,
) -> Option<(Fact, Option<&'k App>)> {
    let no = |reason: &str, message: String| {
        Some((Fact::new(OBSERVED, Truth::False, reason, message), None))
    };
    if !inspected {
        return no(
            "NoInspector",
            "inspector.enabled is false: queues and tasks are not known".to_owned(),
        );
    }
    if !known.asks {
        return no(
            "NoAggregator",
            "the operator was started without --aggregator: queues and tasks are not known"
                .to_owned(),
        );
    }
    let is_old = |since: Timestamp| now.duration_since(since) > STALE_AFTER;
    let why = || known.failure.as_deref().unwrap_or("no answer has come yet");
    let Some(picture) = &known.picture else {
        if !is_old(known.began) {
            return None;
        }
        return no("AggregatorUnreachable", why().to_owned());
    };
    if is_old(picture.time) {
        let message = format!("{}; the numbers are of {}", why(), second(picture.time));
        return no("AggregatorUnreachable", message);
    }
    let Some(app) = picture.apps.get(app) else {
        return no(
            "NoInspectorYet",
            "the aggregator has not heard of this app's inspector yet".to_owned(),
        );
    };
    match unobserved(app) {
        Some((reason, message)) => no(reason, message),
        None => Some((
            Fact::new(OBSERVED, Truth::True, "Live", "the numbers are of now"),
            Some(app),
        )),
    }
}

/// Why the numbers of an app are not of now, though the aggregator answers.
fn unobserved(app: &App) -> Option<(&'static str, String)> {
    let since = |time: Option<Timestamp>| {
        time.map_or_else(String::new, |time| format!(" since {}", second(time)))
    };
    let attached = app.inspector.as_ref().filter(|found| found.attached);
    let Some(inspector) = attached else {
        let left = app.inspector.as_ref().and_then(|found| found.since);
        let message = format!(
            "the inspector is not connected to the aggregator{}",
            since(left)
        );
        return Some(("InspectorGone", message));
    };
    match &app.broker {
        None => Some((
            "InspectorStarts",
            "the inspector has not told of the broker yet".to_owned(),
        )),
        Some(broker) if !broker.reachable => {
            let why = broker.reason.as_deref().unwrap_or("it does not answer");
            let message = format!("the broker is not reached{}: {why}", since(broker.since));
            Some(("BrokerUnreachable", message))
        }
        Some(_) if !inspector.subscribed => Some((
            "NotSubscribed",
            "the inspector does not hear the workers' events at present".to_owned(),
        )),
        Some(_) => None,
    }
}

/// Whether the broker of an app is reached, by what is known of the app.
pub fn reachable(observed: &Fact, broker: Option<&Broker>) -> Fact {
    match broker {
        Some(broker) if broker.reachable => {
            let version = broker.version.as_deref().unwrap_or("the broker");
            let message = format!("{version} answers the inspector");
            Fact::new(REACHABLE, Truth::True, "Answers", message)
        }
        _ if observed.reason == "BrokerUnreachable" => Fact::new(
            REACHABLE,
            Truth::False,
            "BrokerUnreachable",
            observed.message.clone(),
        ),
        _ => Fact::new(
            REACHABLE,
            Truth::Unknown,
            &observed.reason,
            observed.message.clone(),
        ),
    }
}

/// A time as people write it, to whole seconds.
fn second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

#[cfg(test)]
mod tests;
