//! The condition `Draining`: what a lowering waits for.

use super::facts::{Facts, Workers};
use super::marks::Mark;
use super::memory::Memory;
use super::pod::Pod;
use crate::crd::status::Truth;
use crate::report::Fact;

/// The condition.
pub const DRAINING: &str = "Draining";

/// Pods that it names.
const NAMED: usize = 3;

/// Why nothing is known of workers.
pub(super) fn why_unknown(facts: &Facts) -> String {
    match &facts.workers {
        Workers::Never(words) | Workers::NotNow(words) => words.clone(),
        Workers::Known(_) => {
            "of no worker that could go it is known what it consumes and runs".to_owned()
        }
    }
}

/// What is said. Numbers that change with every task are not in it: that would be a write for each.
pub(super) fn says(
    facts: &Facts,
    memory: &Memory,
    drains: &[(&Pod, &Mark)],
    began: usize,
) -> Option<Fact> {
    let surplus = facts.surplus();
    let fact =
        |truth, reason: &str, message: String| Some(Fact::new(DRAINING, truth, reason, message));
    if let Workers::Never(words) = &facts.workers {
        return Some(at_rest(Some(words)));
    }
    if surplus == 0 {
        return Some(at_rest(None));
    }
    let waits = |reason: &str, why: &str| {
        let message = format!("{surplus} workers more than asked for: {why}");
        fact(Truth::True, reason, message)
    };
    if facts.deployment.rolls() {
        let why = "none goes while pods are replaced by those of another template";
        return waits("RolloutInProgress", why);
    }
    if memory.hold.is_some() {
        let why = "Kubernetes took another pod than the drained one, so none goes for 5 minutes";
        return waits("WrongVictim", why);
    }
    if let Workers::NotNow(words) = &facts.workers {
        let why = format!(
            "they cannot be asked, and none goes until they can be, or scaling.drainTimeoutSeconds is over: {words}"
        );
        return waits("WorkersNotAsked", &why);
    }
    if drains.is_empty() && began == 0 {
        return if memory.waits.is_some() {
            waits("WorkersUnknown", &why_unknown(facts))
        } else {
            // In between two pods.
            None
        };
    }
    let failed = drains.iter().find_map(|(pod, _)| {
        let failure = memory.drains.get(&pod.uid)?.failure.as_ref()?;
        Some(format!("; {}: {failure}", pod.node()))
    });
    let names: Vec<String> = drains
        .iter()
        .take(NAMED)
        .map(|(pod, mark)| format!("{} since {:.0}", pod.name, mark.since))
        .collect();
    let more = match drains.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if names.is_empty() {
        return None;
    }
    let message = format!(
        "takes no more tasks, and goes when it has none: {}{more}{}",
        names.join(", "),
        failed.unwrap_or_default()
    );
    fact(Truth::True, "WaitsForTasks", message)
}

/// What is said of a pool in which nothing is under way; `never` is why its workers cannot be asked.
pub fn at_rest(never: Option<&str>) -> Fact {
    if let Some(words) = never {
        let message = format!(
            "{words}: workers that go are not drained, they have their grace period to finish"
        );
        return Fact::new(DRAINING, Truth::False, "CannotDrain", message);
    }
    let message = "no worker is on its way out";
    Fact::new(DRAINING, Truth::False, "NothingToDrain", message)
}
