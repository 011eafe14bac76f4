//! Sessions without streams.

use super::super::order::{CommandOrder, Destination};
use super::*;

fn hello(instance: &str, epoch: i64) -> Hello {
    Hello {
        app: "shop".to_owned(),
        instance: instance.to_owned(),
        epoch,
        version: "0".to_owned(),
        broker: None,
    }
}

#[test]
fn batches_are_folded_once_and_acknowledged_when_durable() {
    let mut sessions = Sessions::default();
    let first = sessions.attach(hello("a", 1));
    assert!(first.active && first.fresh);
    assert_eq!(
        sessions.batch(first.id, 1),
        Verdict::Fold("shop".to_owned())
    );
    assert_eq!(sessions.batch(first.id, 1), Verdict::Repeat);
    assert_eq!(first.state.borrow().acknowledged, 0);
    sessions.committed();
    assert_eq!(first.state.borrow().acknowledged, 1);
    assert_eq!(first.state.borrow().repeats, 1);
    let again = sessions.attach(hello("a", 1));
    assert!(again.active && !again.fresh);
    assert_eq!(again.state.borrow().acknowledged, 1);
    assert_eq!(
        first.state.borrow().closed,
        Some(Closed::Replaced("the same instance attached again"))
    );
    assert_eq!(sessions.batch(first.id, 2), Verdict::Refused);
    assert_eq!(sessions.batch(again.id, 3), Verdict::Refused);
    let hole = Closed::Refused("batch 3 came after batch 1".to_owned());
    assert_eq!(again.state.borrow().closed, Some(hole));
}

#[test]
fn a_new_life_counts_anew_and_what_is_on_disk_is_known_after_a_restart() {
    let mut sessions = Sessions::default();
    sessions.restore("shop", "a", 5, 42);
    let same = sessions.attach(hello("a", 5));
    assert_eq!((same.fresh, same.state.borrow().acknowledged), (false, 42));
    assert_eq!(
        sessions.batch(same.id, 43),
        Verdict::Fold("shop".to_owned())
    );
    let later = sessions.attach(hello("a", 6));
    assert_eq!((later.fresh, later.state.borrow().acknowledged), (true, 0));
    assert_eq!(
        sessions.batch(later.id, 1),
        Verdict::Fold("shop".to_owned())
    );
}

#[test]
fn only_the_inspector_that_is_folded_is_given_orders_and_not_too_many() {
    let mut sessions = Sessions::default();
    assert_eq!(sessions.place("shop").err(), Some(NoPlace::Detached));
    let first = sessions.attach(hello("a", 1));
    let mut second = sessions.attach(hello("b", 2));
    let order = |number: usize| {
        Order::Command(CommandOrder {
            request_id: number.to_string(),
            method: "ping".to_owned(),
            arguments_json: "{}".to_owned(),
            destination: Destination::All,
            wait: std::time::Duration::ZERO,
        })
    };
    for number in 0..ORDERS_MAX {
        sessions
            .place("shop")
            .expect("there is room")
            .send(order(number));
    }
    assert_eq!(sessions.place("shop").err(), Some(NoPlace::Full));
    assert_eq!(sessions.place("other").err(), Some(NoPlace::Detached));
    assert!(second.orders.try_recv().is_err(), "it waits");
    // Those it was given are not given to the next one.
    drop(first);
    assert_eq!(sessions.place("shop").err(), Some(NoPlace::Detached));
    sessions.sweep();
    assert!(second.orders.try_recv().is_err());
    sessions
        .place("shop")
        .expect("it is folded now")
        .send(order(7));
    assert_eq!(second.orders.try_recv(), Ok(order(7)));
}

#[test]
fn what_comes_late_of_an_earlier_life_changes_nothing() {
    let mut sessions = Sessions::default();
    let early = sessions.attach(hello("a", 1));
    sessions.batch(early.id, 1);
    let later = sessions.attach(hello("a", 2));
    sessions.batch(later.id, 1);
    let late = sessions.attach(hello("a", 1));
    assert!(!late.active);
    let replaced = matches!(late.state.borrow().closed, Some(Closed::Replaced(_)));
    assert!(replaced, "{:?}", late.state.borrow());
    assert_eq!(sessions.batch(late.id, 2), Verdict::Refused);
    assert_eq!(
        sessions.batch(later.id, 2),
        Verdict::Fold("shop".to_owned())
    );

    // The later one is gone when the earlier comes late: each has its own count.
    sessions.committed();
    drop(later);
    let late = sessions.attach(hello("a", 1));
    assert_eq!((late.fresh, late.state.borrow().acknowledged), (true, 1));
    let later = sessions.attach(hello("a", 2));
    assert_eq!((later.fresh, later.state.borrow().acknowledged), (true, 2));
    assert_eq!(sessions.batch(later.id, 2), Verdict::Repeat);
}

#[test]
fn one_inspector_is_folded_and_the_next_takes_over() {
    let mut sessions = Sessions::default();
    let first = sessions.attach(hello("a", 1));
    let second = sessions.attach(hello("b", 2));
    assert!(!second.active);
    assert_eq!(sessions.batch(second.id, 1), Verdict::Refused);
    let second = sessions.attach(hello("b", 3));
    assert_eq!(second.state.borrow().role, Role::Standby);
    drop(first);
    let (lost, taken) = sessions.sweep();
    assert!(lost.is_empty());
    assert_eq!(taken.len(), 1);
    assert_eq!(second.state.borrow().role, Role::Active);
    drop(second);
    assert_eq!(sessions.sweep().0, ["shop"]);
}
