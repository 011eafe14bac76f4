use super::*;
use crate::crd::status::Truth;

fn saying(truth: Truth, reason: &str) -> Saying {
    Saying {
        fact: Fact::new(SCALING, truth, reason, format!("{reason} in words")),
        whole: format!("{reason} with numbers"),
        change: None,
        by_message: false,
    }
}

fn shown(saying: &Saying) -> Condition {
    Condition {
        type_: SCALING.to_owned(),
        status: saying.fact.truth,
        reason: saying.fact.reason.clone(),
        message: saying.fact.message.clone(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    }
}

#[test]
fn what_is_shown_already_is_not_written_again() {
    let (said, now) = (Said::default(), Instant::now());
    let work = saying(Truth::True, "Work");
    assert!(said.is_due(now, None, Some(&work)));
    assert!(!said.is_due(now, Some(&shown(&work)), Some(&work)));
    // A new operator finds what the one before has said.
    let held = saying(Truth::True, "DownWindow");
    assert!(said.is_due(now, Some(&shown(&work)), Some(&held)));
    // Of a pool that is not scaled by the operator nothing is said, and nothing was.
    assert!(!said.is_due(now, None, None));
    assert!(said.is_due(now, Some(&shown(&work)), None));
}

#[test]
fn reasons_that_alternate_are_written_now_and_then_what_stops_or_changes_at_once() {
    let work = saying(Truth::True, "Work");
    let held = saying(Truth::True, "DownWindow");
    let stale = saying(Truth::False, "Stale");
    let began = Instant::now();
    let said = Said {
        written: Some((began, Some(work.fact.clone()))),
        ..Said::default()
    };
    let soon = began + Duration::from_secs(5);
    // The watch has not told of it yet.
    assert!(!said.is_due(soon, None, Some(&work)));
    assert!(!said.is_due(soon, Some(&shown(&work)), Some(&held)));
    assert!(said.is_due(began + AGAIN, Some(&shown(&work)), Some(&held)));
    assert!(said.is_due(soon, Some(&shown(&work)), Some(&stale)));
    let change = Saying {
        change: Some((1, 2)),
        ..work.clone()
    };
    assert!(said.is_due(soon, Some(&shown(&work)), Some(&change)));
}

#[test]
fn a_message_alone_is_news_only_where_it_is_the_point() {
    let (said, now) = (Said::default(), Instant::now());
    let work = saying(Truth::True, "Work");
    let mut other = work.clone();
    other.fact.message = "other words".to_owned();
    assert!(!said.is_due(now, Some(&shown(&work)), Some(&other)));
    other.by_message = true;
    assert!(said.is_due(now, Some(&shown(&work)), Some(&other)));
}

#[test]
fn an_event_says_what_was_done_and_why_in_full() {
    let mut work = saying(Truth::True, "Work");
    let event = work.event();
    assert_eq!(
        (event.type_, event.reason.as_str()),
        (EventType::Normal, "Work")
    );
    assert_eq!(event.note.as_deref(), Some("Scaling: Work with numbers"));
    work.change = Some((0, 2));
    let event = work.event();
    assert_eq!(event.reason, "ScaledUp");
    assert_eq!(
        event.note.as_deref(),
        Some("workers 0→2: Work with numbers")
    );
    work.change = Some((2, 1));
    assert_eq!(work.event().reason, "ScaledDown");
    assert_eq!(
        saying(Truth::False, "Stale").event().type_,
        EventType::Warning
    );
    assert_eq!(
        saying(Truth::False, "DryRun").event().type_,
        EventType::Normal
    );
    let long = Saying {
        whole: "é".repeat(NOTE_BYTES_MAX),
        ..work
    };
    assert!(
        long.event()
            .note
            .is_some_and(|note| note.len() <= NOTE_BYTES_MAX)
    );
}
