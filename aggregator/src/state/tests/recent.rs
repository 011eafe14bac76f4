//! Custom events that come again.

use super::build::worker;
use crate::state::input::TaskEvent;
use crate::state::limits::RECENT_CUSTOM_MAX;
use crate::state::recent::Recent;
use crate::state::task::EventStamp;

#[test]
fn an_event_is_new_once_and_what_is_long_ago_is_forgotten() {
    let mut recent = Recent::default();
    let mut w1 = worker("celery@w1", 1);
    let mut admit = |event: &TaskEvent| recent.admit(event, EventStamp::of(event));
    let first = w1.progresses("t", 1.0);
    assert!(admit(&first));
    assert!(!admit(&first));
    assert!(admit(&TaskEvent {
        hostname: "celery@w2".into(),
        ..first.clone()
    }));
    for number in 0..RECENT_CUSTOM_MAX {
        assert!(admit(&w1.progresses("t", 2.0)), "{number}");
    }
    assert!(admit(&first), "too long ago");
}

#[test]
fn without_a_clock_nothing_is_taken_for_a_repeat() {
    let mut recent = Recent::default();
    let event = TaskEvent {
        clock: None,
        ..worker("celery@w1", 1).progresses("t", 1.0)
    };
    for _ in 0..2 {
        assert!(recent.admit(&event, EventStamp::of(&event)));
    }
}
