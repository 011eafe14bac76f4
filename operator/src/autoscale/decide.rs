//! The decision: what the load asks for, held within bounds, hurried or slowed, and made of workers that go.

use super::Moment;
use super::demand::{Demand, Freshness, ServiceTime};
use super::history::{History, PANIC_HOLDS, UP_PERIOD};
use super::policy::Policy;
use super::reason::{Held, Reason};
use super::replicas::Replicas;
use super::victims::victims;
use super::wish::{Wish, wish};

/// Within [`UP_PERIOD`] so many replicas may be added, or as many as there are if that is more (Kubernetes' own
/// default for a HorizontalPodAutoscaler).
const UP_STEP: u32 = 4;

const _: () = assert!(
    UP_PERIOD.as_secs() == 15,
    "the words of `Reason::UpLimit` name it"
);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What the Deployment is asked for. Never less than it is: it follows workers that went one by one.
    pub replicas: u32,
    /// The workers that are to be on their way out. A worker that is on its way and is not named here stays.
    pub retire: Vec<String>,
    /// Nobody goes a step further on the way out, or back, until the next decision.
    pub frozen: bool,
    /// Why, from the load to what held it.
    pub reasons: Vec<Reason>,
    /// What the load asks for, within bounds; `None` when it was not looked at.
    pub wanted: Option<u32>,
    /// Replicas that are added, those that are kept among them.
    pub(super) added: u32,
    pub(super) panic: bool,
    pub(super) service_time: Option<ServiceTime>,
}

impl Decision {
    /// Everything stays as it is.
    fn stay(replicas: &Replicas, reasons: Vec<Reason>) -> Self {
        Self {
            replicas: replicas.current,
            retire: on_the_way(replicas),
            frozen: true,
            reasons,
            wanted: None,
            added: 0,
            panic: false,
            service_time: None,
        }
    }
}

/// What is to be done at `now`. The caller does it, and tells the history.
pub fn decide(
    now: Moment,
    policy: &Policy,
    demand: &Demand,
    replicas: &Replicas,
    history: &History,
) -> Decision {
    if policy.paused {
        return Decision::stay(replicas, vec![Reason::Paused]);
    }
    if let Freshness::Stale { why } = &demand.freshness {
        let stale = Reason::Stale { why: why.clone() };
        return at_least_min(policy, replicas, Decision::stay(replicas, vec![stale]));
    }
    let mut reasons = Vec::new();
    let wish = wish(
        policy,
        demand,
        replicas,
        history.service_time(),
        &mut reasons,
    );
    let wanted = bounded(policy, wish.replicas, &mut reasons);
    let staying = replicas.staying();
    let mut decision = match wanted {
        wanted if wanted > staying => raise(now, policy, replicas, history, wanted, reasons),
        wanted if wanted < staying => lower(now, policy, replicas, history, wanted, &wish, reasons),
        _ => Decision {
            frozen: false,
            ..Decision::stay(replicas, reasons)
        },
    };
    decision.wanted = Some(wanted);
    decision.panic = wish.panic;
    decision.service_time = wish.service_time;
    if policy.dry_run {
        return dry(replicas, decision);
    }
    decision
}

/// A pool has its fewest replicas, whatever is known of its load.
fn at_least_min(policy: &Policy, replicas: &Replicas, mut decision: Decision) -> Decision {
    let min = policy.min.min(policy.max);
    if replicas.current < min {
        decision.replicas = min;
        decision.reasons.push(Reason::AtMin { min });
    }
    decision
}

fn bounded(policy: &Policy, wanted: u32, reasons: &mut Vec<Reason>) -> u32 {
    let max = policy.max;
    let min = policy.min.min(max);
    if wanted > max {
        reasons.push(Reason::AtMax { wanted, max });
    } else if wanted < min {
        reasons.push(Reason::AtMin { min });
    }
    wanted.clamp(min, max)
}

/// Workers on their way out stay first, the newest before the others; then replicas are added.
fn raise(
    now: Moment,
    policy: &Policy,
    replicas: &Replicas,
    history: &History,
    wanted: u32,
    mut reasons: Vec<Reason>,
) -> Decision {
    let staying = replicas.staying();
    let added = history.added(now);
    let before = staying.saturating_sub(added);
    let limit = before.saturating_add(UP_STEP).max(before.saturating_mul(2));
    // The fewest there may be are there at once.
    let allowed = limit.max(policy.min.min(policy.max)).max(staying);
    let target = wanted.min(allowed);
    if target < wanted {
        reasons.push(Reason::UpLimit {
            wanted,
            allowed: target,
        });
    }
    let mut retire = on_the_way(replicas);
    let kept = (target - staying).min(count(retire.len()));
    retire.truncate(retire.len() - usize::try_from(kept).unwrap_or(retire.len()));
    if kept > 0 {
        reasons.push(Reason::Keeps { workers: kept });
    }
    Decision {
        replicas: replicas.current + (target - staying - kept),
        retire,
        frozen: false,
        reasons,
        wanted: None,
        added: target - staying,
        panic: false,
        service_time: None,
    }
}

fn lower(
    now: Moment,
    policy: &Policy,
    replicas: &Replicas,
    history: &History,
    wanted: u32,
    wish: &Wish,
    mut reasons: Vec<Reason>,
) -> Decision {
    let staying = replicas.staying();
    let highest = history.highest(now);
    // What was wanted under other bounds counts within those of now.
    let target = highest.map_or(wanted, |(highest, _)| {
        highest.min(policy.max).max(wanted).min(staying)
    });
    let (target, held) = hold(now, policy, history, wish, staying, target);
    if target > wanted
        && let Some(held) = held
    {
        reasons.push(Reason::Holds { wanted, held });
    }
    let mut retire = on_the_way(replicas);
    let wanted = staying - target;
    let found = victims(replicas, wanted);
    if count(found.len()) < wanted {
        reasons.push(Reason::NoVictim {
            wanted,
            found: count(found.len()),
        });
    }
    retire.extend(found);
    if !retire.is_empty() {
        reasons.push(Reason::Retires {
            workers: count(retire.len()),
        });
    }
    Decision {
        frozen: false,
        retire,
        ..Decision::stay(replicas, reasons)
    }
}

/// What keeps workers that are not needed, and how many it keeps at least; `target` is what the window leaves.
fn hold(
    now: Moment,
    policy: &Policy,
    history: &History,
    wish: &Wish,
    staying: u32,
    target: u32,
) -> (u32, Option<Held>) {
    if let Some(left) = history.unseen(now) {
        return (staying, Some(Held::Watching { left }));
    }
    if let Some(left) = history.refuses_for(now) {
        return (staying, Some(Held::WrongVictim { left }));
    }
    if !policy.drains {
        return (staying, Some(Held::CannotDrain));
    }
    let panic = wish.panic.then_some(PANIC_HOLDS);
    if let Some(left) = panic.or_else(|| history.panics_for(now)) {
        // More than the owner wants is kept by nothing but what is above.
        let kept = staying.min(policy.max).max(target);
        return (kept, Some(Held::Panic { left }));
    }
    let window = history.highest(now);
    let window = window.map(|(highest, left)| Held::Window {
        highest,
        window: history.window(),
        left,
    });
    (target, window)
}

/// What would be done is said; nothing is.
fn dry(replicas: &Replicas, decision: Decision) -> Decision {
    let would = decision
        .replicas
        .saturating_sub(count(decision.retire.len()));
    let mut reasons = decision.reasons;
    reasons.push(Reason::DryRun { replicas: would });
    Decision {
        wanted: decision.wanted,
        service_time: decision.service_time,
        panic: decision.panic,
        ..Decision::stay(replicas, reasons)
    }
}

/// The workers that are on their way out, those first that have been for longest.
fn on_the_way(replicas: &Replicas) -> Vec<String> {
    let draining = replicas.members.iter();
    let mut draining: Vec<_> = draining
        .filter_map(|member| Some((member.draining?, &member.name)))
        .collect();
    draining.sort();
    // There cannot be more than were asked for.
    draining.truncate(usize::try_from(replicas.current).unwrap_or(usize::MAX));
    let names = draining.into_iter().map(|(_, name)| name.clone());
    names.collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
