//! A decision in one line that stays the same for as long as the reason does: a status is not written for numbers that move
//! with every task.

use super::decide::Decision;
use super::reason::{Held, Reason};

/// A decision in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// Whether the pool is scaled by its load at present.
    pub acts: bool,
    /// The reason that counts, in one word.
    pub word: &'static str,
    /// The same for people, without numbers but those that somebody set.
    pub message: String,
    /// What it would be, when it is only said.
    pub would_be: Option<u32>,
}

impl Brief {
    /// What counts of a decision: what keeps it from being one by the load, else what held it, else the load.
    pub fn of(decision: &Decision) -> Self {
        let reasons = &decision.reasons;
        let stops = reasons.iter().find(|reason| stops(reason));
        let holds = reasons.iter().rev().find(|reason| !is_load(reason));
        let would_be = match stops {
            Some(Reason::DryRun { replicas }) => Some(*replicas),
            _ => None,
        };
        match stops.or(holds) {
            Some(reason) => Self {
                acts: stops.is_none(),
                word: reason.word(),
                message: words(reason),
                would_be,
            },
            None => Self {
                acts: true,
                word: "Work",
                message: "as many as the load needs".to_owned(),
                would_be,
            },
        }
    }
}

/// Nothing is done whatever the load.
fn stops(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Stale { .. } | Reason::Paused | Reason::DryRun { .. }
    )
}

/// How much there is to do, in one way or another: which one counts most may change with every task.
fn is_load(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Work(_)
            | Reason::Shared { .. }
            | Reason::Panic { .. }
            | Reason::Late { .. }
            | Reason::FewTasks { .. }
            | Reason::Running { .. }
    )
}

fn words(reason: &Reason) -> String {
    let text = match reason {
        Reason::Work(_)
        | Reason::Shared { .. }
        | Reason::Panic { .. }
        | Reason::Late { .. }
        | Reason::FewTasks { .. }
        | Reason::Running { .. } => "as many as the load needs",
        Reason::NoTaskTime { .. } => {
            "how long a task takes is not known yet: each that waits gets a slot"
        }
        Reason::KeepsOne { scheduled: 0, .. } => {
            "one stays for messages that nobody has acknowledged"
        }
        Reason::KeepsOne { .. } => "one stays for tasks that wait for a time to run at",
        Reason::UpLimit { .. } => "more are wanted than may come at once",
        Reason::Holds { held, .. } => return format!("fewer would do, but {}", held_by(held)),
        Reason::Retires { .. } => "workers that are not needed finish and go",
        Reason::NoVictim { .. } => "fewer would do, but of some nothing is known: they stay",
        Reason::Keeps { .. } => "workers stay that had begun to go",
        Reason::AtMax { max, .. } => return format!("more are wanted, max is {max}"),
        Reason::AtMin { min } => return format!("fewer would do, min is {min}"),
        // Said whole: these have no numbers that move, or they are the point.
        Reason::Nothing | Reason::Paused | Reason::Stale { .. } | Reason::DryRun { .. } => {
            return reason.to_string();
        }
    };
    text.to_owned()
}

fn held_by(held: &Held) -> &'static str {
    match held {
        Held::Window { .. } => "more were wanted a while ago",
        Held::Watching { .. } => "what was wanted before is not known yet",
        Held::Panic { .. } => "load has just jumped",
        Held::WrongVictim { .. } => "another pod than the drained one has gone",
        Held::CannotDrain => "workers of this pool cannot be drained",
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::super::{
        DOWN_WINDOW, Demand, Freshness, History, Load, Member, Policy, Presence, Rate, Replicas,
        ServiceTime, Share, decide,
    };
    use super::*;

    fn policy() -> Policy {
        Policy {
            min: 0,
            max: 4,
            target_latency: Duration::from_secs(30),
            start_time: Duration::from_secs(15),
            slots_per_replica: NonZeroU32::MIN,
            share: Share::WHOLE,
            paused: false,
            dry_run: false,
            drains: true,
        }
    }

    fn demand(ready: u64) -> Demand {
        Demand {
            freshness: Freshness::Fresh,
            ready,
            unacked: Some(0),
            oldest_age: None,
            arrivals: Rate::per_second(0.0),
            arrivals_now: None,
            service_time: ServiceTime::seconds(1.0),
            running_age: None,
        }
    }

    fn replicas(count: u32, active: u64) -> Replicas {
        let member = |number| Member {
            name: format!("celery@pool-{number}"),
            presence: Presence::Known(Load {
                slots: 1,
                active: if number == 0 { active } else { 0 },
                ..Load::default()
            }),
            draining: None,
            undone: false,
        };
        Replicas {
            current: count,
            members: (0..count).map(member).collect(),
        }
    }

    fn brief(policy: &Policy, demand: &Demand, replicas: &Replicas, seconds: u64) -> Brief {
        let history = History::new(Duration::ZERO, DOWN_WINDOW);
        let now = Duration::from_secs(seconds);
        Brief::of(&decide(now, policy, demand, replicas, &history))
    }

    #[test]
    fn as_the_load_moves_within_one_reason_nothing_else_is_said() {
        let say = |ready, active, seconds| {
            brief(&policy(), &demand(ready), &replicas(2, active), seconds)
        };
        // Two are there and two are needed: by what waits, by what runs, by what is left.
        let busy = say(16, 1, 0);
        assert_eq!((busy.acts, busy.word), (true, "Work"));
        for (ready, active) in [(20, 0), (29, 1), (25, 1)] {
            assert_eq!(say(ready, active, 0), busy);
        }
        let watching = say(0, 0, 10);
        assert_eq!(watching.word, "Watching");
        assert_eq!(say(0, 0, 11), watching);
        assert_eq!(say(1, 1, 200), watching);
    }

    #[test]
    fn what_stops_scaling_counts_before_all_else() {
        let paused = Policy {
            paused: true,
            ..policy()
        };
        let said = brief(&paused, &demand(500), &replicas(1, 1), 0);
        assert_eq!((said.acts, said.word), (false, "Paused"));

        let dry = Policy {
            dry_run: true,
            ..policy()
        };
        let said = brief(&dry, &demand(500), &replicas(1, 1), 0);
        assert_eq!(
            (said.acts, said.word, said.would_be),
            (false, "DryRun", Some(4))
        );
        assert!(said.message.contains("4 replicas"), "{}", said.message);

        // The fewest there must be come all the same, which is not the news.
        let min = Policy { min: 3, ..policy() };
        let stale = Demand {
            freshness: Freshness::Stale {
                why: "nobody answers".to_owned(),
            },
            ..demand(0)
        };
        let said = brief(&min, &stale, &replicas(1, 0), 0);
        assert_eq!((said.acts, said.word), (false, "Stale"));
        assert!(said.message.contains("nobody answers"), "{}", said.message);
        assert_eq!(
            brief(&policy(), &demand(500), &replicas(4, 1), 0).word,
            "AtMax"
        );
    }
}
