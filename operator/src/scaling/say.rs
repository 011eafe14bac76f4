//! What a pool's status and Events say of its scaling, and when it is worth a write.

use std::time::Duration;

use celeriac_process::error_chain;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::api::Api;
use kube::runtime::events::{Event, EventType};
use tokio::time::{Instant, timeout};

use super::WRITE;
use crate::autoscale::{Brief, Decision};
use crate::controllers::Context;
use crate::crd::status::Truth;
use crate::crd::{CeleryWorker, Condition};
use crate::report::{Fact, report_scaling};

/// The condition of a pool.
pub(super) const SCALING: &str = "Scaling";

/// Between two writes of a pool that only give another reason: where reasons alternate, no list is filled with them.
const AGAIN: Duration = Duration::from_secs(30);

/// After a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The longest note that an Event may have.
const NOTE_BYTES_MAX: usize = 1_000;

/// What is to be said of a pool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Saying {
    /// The condition.
    pub(super) fact: Fact,
    /// The same with all reasons and numbers, for an Event.
    pub(super) whole: String,
    /// How many were asked for before and are now, when that has just been changed.
    pub(super) change: Option<(u32, u32)>,
    /// The message is the news, not only the reason.
    pub(super) by_message: bool,
}

impl Saying {
    /// What a decision says; `before` and `target` are what was asked for and is.
    pub(super) fn of(decision: &Decision, before: u32, target: u32) -> Self {
        let brief = Brief::of(decision);
        let truth = if brief.acts {
            Truth::True
        } else {
            Truth::False
        };
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        Self {
            fact: Fact::new(SCALING, truth, brief.word, brief.message),
            whole: reasons.join("; "),
            change: (before != target).then_some((before, target)),
            by_message: brief.would_be.is_some(),
        }
    }

    /// Nothing is decided, and why.
    pub(super) fn not(reason: &str, message: String) -> Self {
        Self {
            fact: Fact::new(SCALING, Truth::False, reason, message.clone()),
            whole: message,
            change: None,
            by_message: true,
        }
    }

    fn event(&self) -> Event {
        let (reason, mut note) = match self.change {
            Some((before, after)) => {
                let reason = if after > before {
                    "ScaledUp"
                } else {
                    "ScaledDown"
                };
                (
                    reason.to_owned(),
                    format!("workers {before}→{after}: {}", self.whole),
                )
            }
            None => (
                self.fact.reason.clone(),
                format!("{SCALING}: {}", self.whole),
            ),
        };
        let end = note.floor_char_boundary(NOTE_BYTES_MAX);
        note.truncate(end);
        // What somebody asked for is no warning.
        let asked = matches!(self.fact.reason.as_str(), "Paused" | "DryRun");
        Event {
            type_: if self.fact.truth == Truth::True || asked {
                EventType::Normal
            } else {
                EventType::Warning
            },
            reason,
            note: Some(note),
            action: "Scale".to_owned(),
            secondary: None,
        }
    }
}

/// What has been said of a pool.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// What was written last, and when; a watch tells of it a moment later.
    written: Option<(Instant, Option<Fact>)>,
    /// No write before this.
    not_before: Option<Instant>,
    /// When its size was changed last.
    scaled: Option<Timestamp>,
}

impl Said {
    /// Says it, if it is worth a write; `None` takes back what was said.
    pub(super) async fn say(
        &mut self,
        context: &Context,
        object: &CeleryWorker,
        saying: Option<&Saying>,
    ) {
        let now = Instant::now();
        let status = object.status.as_ref();
        let shown = status.map_or(&[][..], |status| &status.conditions);
        let shown = shown.iter().find(|one| one.type_ == SCALING);
        if !self.is_due(now, shown, saying) {
            return;
        }
        let wall = Timestamp::now();
        let before = status.and_then(|status| status.last_scaled.as_ref());
        let before = before.map(|time| time.0);
        self.scaled = match saying {
            None => None,
            Some(saying) if saying.change.is_some() => Some(wall),
            Some(_) => self.scaled.or(before),
        };
        let fact = saying.map(|saying| saying.fact.clone());
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<CeleryWorker> = Api::namespaced(context.client.clone(), namespace);
        let scaled = self.scaled.map(Time);
        let write = report_scaling(&api, object, fact.as_ref(), scaled, wall);
        match timeout(WRITE, write).await {
            Ok(Ok(())) => {
                self.written = Some((now, fact));
                self.not_before = None;
            }
            failed => {
                self.not_before = Some(now + RETRY);
                let name = object.metadata.name.as_deref().unwrap_or_default();
                let error = match failed {
                    Ok(Err(error)) => error_chain(&error),
                    _ => format!("no answer in {WRITE:?}"),
                };
                tracing::warn!(
                    namespace,
                    name,
                    error,
                    "the condition {SCALING} is not written"
                );
                return;
            }
        }
        if let Some(saying) = saying {
            tell(context, object, saying).await;
        }
    }

    fn is_due(&self, now: Instant, shown: Option<&Condition>, saying: Option<&Saying>) -> bool {
        if saying.is_some_and(|saying| saying.change.is_some()) {
            return true;
        }
        if self.not_before.is_some_and(|then| now < then) {
            return false;
        }
        let last = self.written.as_ref();
        let recent = last.is_some_and(|(at, _)| now.duration_since(*at) < AGAIN);
        // What a watch will tell of in a moment is as good as what it tells.
        let (truth, reason, message) = match last {
            Some((_, written)) if recent => (
                written.as_ref().map(|fact| fact.truth),
                written.as_ref().map(|fact| fact.reason.as_str()),
                written.as_ref().map(|fact| fact.message.as_str()),
            ),
            _ => (
                shown.map(|one| one.status),
                shown.map(|one| one.reason.as_str()),
                shown.map(|one| one.message.as_str()),
            ),
        };
        let Some(saying) = saying else {
            return truth.is_some();
        };
        if truth != Some(saying.fact.truth) {
            return true;
        }
        let other_reason = reason != Some(saying.fact.reason.as_str());
        let other_words = message != Some(saying.fact.message.as_str());
        !recent && (other_reason || (saying.by_message && other_words))
    }
}

async fn tell(context: &Context, object: &CeleryWorker, saying: &Saying) {
    let event = saying.event();
    let object = object.object_ref(&());
    let published = context.recorder.publish(&event, &object);
    // What is told is also in the status; an Event that is lost is not worth a decision that is late.
    if let Ok(Err(error)) = timeout(WRITE, published).await {
        tracing::debug!(%error, "an Event was not taken");
    }
}

#[cfg(test)]
mod tests;
