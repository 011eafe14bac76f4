//! What holds of any decision, however odd what it is made of.

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{
    DOWN_WINDOW, Decision, Demand, Freshness, History, Load, Member, Policy, Presence, Rate,
    Replicas, ServiceTime, Share, decide,
};

fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0..600_000_u64).prop_map(Duration::from_millis),
        Just(Duration::from_secs(u64::from(u32::MAX))),
    ]
}

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..50_u64, 0..100_000_u64, Just(u64::MAX)]
}

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        0.0..20.0,
        0.0..1e6,
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY)
    ]
}

prop_compose! {
    fn policies()(
        min in 0..20_u32, max in 0..40_u32, target_latency in spans(), start_time in spans(),
        slots in 1..200_u32, own in 0..20_u64, all in 0..20_u64, paused in prop::bool::weighted(0.05),
        dry_run in prop::bool::weighted(0.05), drains in prop::bool::weighted(0.9),
    ) -> Policy {
        Policy {
            min, max, target_latency, start_time,
            slots_per_replica: NonZeroU32::new(slots).unwrap(),
            share: Share { own, all }, paused, dry_run, drains,
        }
    }
}

prop_compose! {
    fn demands()(
        stale in prop::bool::weighted(0.1), ready in counts(), unacked in prop::option::of(counts()),
        oldest_age in prop::option::of(spans()), arrivals in floats(), arrivals_now in floats(),
        service_time in floats(), running_age in floats(),
    ) -> Demand {
        Demand {
            freshness: if stale { Freshness::Stale { why: "old".to_owned() } } else { Freshness::Fresh },
            ready, unacked, oldest_age,
            arrivals: Rate::per_second(arrivals), arrivals_now: Rate::per_second(arrivals_now),
            service_time: ServiceTime::seconds(service_time), running_age: ServiceTime::seconds(running_age),
        }
    }
}

prop_compose! {
    fn loads()(slots in counts(), active in counts(), reserved in counts(), scheduled in prop_oneof![4 => Just(0), 1 => counts()],
        remainder in prop::option::of(spans())) -> Load {
        Load { slots, active, reserved, scheduled, remainder }
    }
}

prop_compose! {
    fn members()(presence in prop_oneof![
            1 => Just(Presence::Starting), 1 => Just(Presence::Unknown), 6 => loads().prop_map(Presence::Known)],
        draining in prop::option::weighted(0.2, spans()), undone in any::<bool>()) -> Member {
        Member { name: String::new(), presence, draining, undone }
    }
}

prop_compose! {
    fn all_replicas()(current in 0..30_u32, mut members in prop::collection::vec(members(), 0..30)) -> Replicas {
        for (number, member) in members.iter_mut().enumerate() {
            member.name = format!("w{number}");
        }
        Replicas { current, members }
    }
}

/// A pool after some decisions, at a time.
fn histories() -> impl Strategy<Value = (Duration, History)> {
    let past = prop::collection::vec((spans(), policies(), demands(), all_replicas()), 0..4);
    (past, spans()).prop_map(|(past, last)| {
        let mut now = Duration::ZERO;
        let mut history = History::new(now, DOWN_WINDOW);
        for (wait, policy, demand, replicas) in past {
            now += wait;
            let decision = decide(now, &policy, &demand, &replicas, &history);
            history.record(now, &decision);
        }
        (now + last, history)
    })
}

/// Replicas there will be when everybody who is to go has gone.
fn left(decision: &Decision) -> u32 {
    decision
        .replicas
        .saturating_sub(u32::try_from(decision.retire.len()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_added_above_max_and_nothing_is_taken_but_by_retiring(
        policy in policies(), demand in demands(), replicas in all_replicas(), (now, history) in histories(),
    ) {
        let decision = decide(now, &policy, &demand, &replicas, &history);
        prop_assert!(decision.replicas >= replicas.current);
        if decision.replicas > replicas.current {
            prop_assert!(left(&decision) <= policy.max, "{decision:?}");
        }
        prop_assert!(!decision.reasons.is_empty(), "{decision:?}");
    }

    #[test]
    fn nobody_new_goes_of_whom_nothing_is_known_or_before_its_time(
        policy in policies(), demand in demands(), replicas in all_replicas(), (now, history) in histories(),
    ) {
        let decision = decide(now, &policy, &demand, &replicas, &history);
        let fewest = policy.min.min(policy.max);
        let mut new = 0;
        for name in &decision.retire {
            let member = replicas.members.iter().find(|member| member.name == *name).unwrap();
            if member.draining.is_none() {
                new += 1;
                prop_assert!(member.presence != Presence::Unknown);
            }
        }
        let before = replicas.members.iter().filter(|member| member.draining.is_some()).count();
        if new > 0 {
            let staying = usize::try_from(replicas.current).unwrap().saturating_sub(before);
            prop_assert!(staying - new >= usize::try_from(fewest).unwrap(), "{decision:?}");
            prop_assert!(now >= Duration::from_mins(5), "before a whole window was seen");
        }
    }

    #[test]
    fn a_busy_worker_goes_only_when_no_idle_one_is_left(
        policy in policies(), demand in demands(), replicas in all_replicas(), (now, history) in histories(),
    ) {
        let decision = decide(now, &policy, &demand, &replicas, &history);
        let goes = |member: &Member| decision.retire.contains(&member.name);
        let new = replicas.members.iter().filter(|member| member.draining.is_none());
        let has = |member: &&Member, what: fn(&Load) -> bool| matches!(&member.presence, Presence::Known(load) if what(load));
        let busy = new.clone().any(|member| goes(member) && has(&member, |load| load.active > 0 && load.scheduled == 0));
        let idle = new.clone().any(|member| !goes(member) && has(&member, |load| *load == Load { slots: load.slots, remainder: load.remainder, ..Load::default() }));
        prop_assert!(!(busy && idle), "{decision:?}");
        let eta = new.clone().any(|member| goes(member) && has(&member, |load| load.scheduled > 0));
        let other = new.clone().any(|member| !goes(member) && has(&member, |load| load.scheduled == 0));
        prop_assert!(!(eta && other), "{decision:?}");
    }

    #[test]
    fn what_is_old_lowers_nothing_and_moves_nobody(
        policy in policies(), demand in demands(), replicas in all_replicas(), (now, history) in histories(),
    ) {
        let demand = Demand { freshness: Freshness::Stale { why: "old".to_owned() }, ..demand };
        let decision = decide(now, &policy, &demand, &replicas, &history);
        prop_assert!(decision.frozen);
        prop_assert!(decision.replicas >= replicas.current);
        for name in &decision.retire {
            let member = replicas.members.iter().find(|member| member.name == *name).unwrap();
            prop_assert!(member.draining.is_some());
        }
    }

    #[test]
    fn more_backlog_never_means_fewer_replicas(
        policy in policies(), demand in demands(), more in counts(), replicas in all_replicas(), (now, history) in histories(),
    ) {
        let fewer = decide(now, &policy, &demand, &replicas, &history);
        let greater = Demand { ready: demand.ready.saturating_add(more), ..demand };
        let decision = decide(now, &policy, &greater, &replicas, &history);
        prop_assert!(decision.wanted >= fewer.wanted, "{fewer:?} {decision:?}");
        prop_assert!(left(&decision) >= left(&fewer), "{fewer:?} {decision:?}");
    }

    #[test]
    fn a_pause_and_a_dry_run_change_nothing(
        mut policy in policies(), demand in demands(), replicas in all_replicas(), (now, history) in histories(), paused in any::<bool>(),
    ) {
        (policy.paused, policy.dry_run) = (paused, !paused);
        // A stale signal lets a pool have its fewest all the same.
        let demand = Demand { freshness: Freshness::Fresh, ..demand };
        let decision = decide(now, &policy, &demand, &replicas, &history);
        prop_assert!(decision.frozen);
        prop_assert_eq!(decision.replicas, replicas.current);
    }

    #[test]
    fn no_rate_and_no_time_is_negative_infinite_or_not_a_number(number in floats()) {
        let fits = number.is_finite() && number >= 0.0;
        prop_assert_eq!(Rate::per_second(number).is_some(), fits);
        prop_assert_eq!(ServiceTime::seconds(number).is_some(), fits);
        if let Some(time) = ServiceTime::seconds(number) {
            prop_assert!((0.001..=86_400.0).contains(&time.get()));
        }
    }
}
