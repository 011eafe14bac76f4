use std::collections::BTreeMap;

use super::*;
use crate::figures::picture::Inspector;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("it is a time")
}

fn app() -> App {
    App {
        broker: Some(Broker {
            reachable: true,
            reason: None,
            since: Some(at(10)),
            version: Some("redis 7.0.15".to_owned()),
            ..Broker::default()
        }),
        inspector: Some(Inspector {
            attached: true,
            since: Some(at(10)),
            subscribed: true,
        }),
        ..App::default()
    }
}

/// An aggregator that answered at 100, and knows `n/shop` so.
fn known(app: App) -> Known {
    Known {
        asks: true,
        picture: Some(Arc::new(Picture {
            time: at(100),
            apps: BTreeMap::from([("n/shop".to_owned(), app)]),
        })),
        failure: None,
        began: at(0),
    }
}

fn words(known: &Known, now: i64) -> (String, String, bool) {
    let (fact, app) = observe(known, at(now), "n/shop", true).expect("it is known");
    assert_eq!(fact.truth == Truth::True, app.is_some());
    (fact.reason, fact.message, app.is_some())
}

#[test]
fn numbers_are_true_while_the_aggregator_answers_and_the_inspector_sees() {
    assert_eq!(words(&known(app()), 115).0, "Live");
}

#[test]
fn what_is_missing_is_named_with_since_when() {
    let mut gone = app();
    gone.inspector = Some(Inspector {
        attached: false,
        since: Some(at(90)),
        subscribed: false,
    });
    let mut down = app();
    down.broker = Some(Broker {
        reachable: false,
        reason: Some("connection refused".to_owned()),
        since: Some(at(95)),
        ..Broker::default()
    });
    let mut deaf = app();
    deaf.inspector = Some(Inspector {
        attached: true,
        since: None,
        subscribed: false,
    });
    for (app, reason, part) in [
        (gone, "InspectorGone", "since 1970-01-01T00:01:30Z"),
        (
            down,
            "BrokerUnreachable",
            "since 1970-01-01T00:01:35Z: connection refused",
        ),
        (deaf, "NotSubscribed", "does not hear"),
        (
            App {
                broker: None,
                ..app()
            },
            "InspectorStarts",
            "has not told",
        ),
    ] {
        let (found, message, _) = words(&known(app), 101);
        assert_eq!(found, reason);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_aggregator_that_is_silent_makes_all_numbers_old_and_its_silence_is_told() {
    let mut known = known(app());
    known.failure = Some("cannot reach the aggregator".to_owned());
    // One round that failed is no reason yet.
    assert_eq!(words(&known, 115).0, "Live");
    let (reason, message, _) = words(&known, 116);
    assert_eq!(reason, "AggregatorUnreachable");
    let expected = "cannot reach the aggregator; the numbers are of 1970-01-01T00:01:40Z";
    assert_eq!(message, expected);
}

#[test]
fn before_the_first_answer_nothing_is_said_for_a_while() {
    let known = Known {
        asks: true,
        began: at(100),
        ..Known::default()
    };
    assert_eq!(observe(&known, at(115), "n/shop", true), None);
    assert_eq!(words(&known, 116).0, "AggregatorUnreachable");
}

#[test]
fn what_is_not_asked_for_is_not_known() {
    let known = known(app());
    let reason = |app: &str, inspected: bool, known: &Known| {
        observe(known, at(101), app, inspected).map(|(fact, _)| fact.reason)
    };
    assert_eq!(
        reason("n/shop", false, &known).as_deref(),
        Some("NoInspector")
    );
    assert_eq!(
        reason("m/shop", true, &known).as_deref(),
        Some("NoInspectorYet")
    );
    let alone = Known::default();
    assert_eq!(
        reason("n/shop", true, &alone).as_deref(),
        Some("NoAggregator")
    );
}

#[test]
fn a_broker_is_reached_or_not_or_that_is_not_known() {
    let of = |known: &Known, now: i64| {
        let (fact, app) = observe(known, at(now), "n/shop", true).expect("it is known");
        reachable(&fact, app.and_then(|app| app.broker.as_ref())).truth
    };
    assert_eq!(of(&known(app()), 101), Truth::True);
    assert_eq!(of(&known(app()), 200), Truth::Unknown);
    let mut down = app();
    down.broker = down.broker.map(|broker| Broker {
        reachable: false,
        ..broker
    });
    assert_eq!(of(&known(down), 101), Truth::False);
}
