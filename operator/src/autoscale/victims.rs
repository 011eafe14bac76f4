//! Which workers go when some have to.

use std::cmp::Ordering;
use std::time::Duration;

use super::replicas::{Member, Presence, Replicas};

/// The names of up to `count` workers that are to go, and are not yet on their way: those that are still starting first,
/// then the idle ones, then those with the least to do; of like ones those that were kept once before. One that has tasks
/// waiting for their time goes only when no other can be had; one of which nothing is known never does.
pub fn victims(replicas: &Replicas, count: u32) -> Vec<String> {
    let mut candidates: Vec<&Member> = replicas
        .members
        .iter()
        .filter(|member| !member.is_draining() && member.presence != Presence::Unknown)
        .collect();
    candidates.sort_by(|one, other| compare(one, other));
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let chosen = candidates.into_iter().take(count);
    chosen.map(|member| member.name.clone()).collect()
}

fn compare(one: &Member, other: &Member) -> Ordering {
    rank(one)
        .cmp(&rank(other))
        .then_with(|| one.name.cmp(&other.name))
}

/// What is smaller goes first.
type Rank = (bool, bool, bool, bool, u64, u64, Duration);

fn rank(member: &Member) -> Rank {
    let Presence::Known(load) = member.presence else {
        return (false, false, false, false, 0, 0, Duration::ZERO);
    };
    let busy = load.active > 0 || load.reserved > 0;
    (
        load.scheduled > 0,
        // A worker is there; one that is starting is not.
        true,
        busy,
        !member.undone,
        load.active,
        load.reserved,
        load.remainder.unwrap_or(Duration::MAX),
    )
}
