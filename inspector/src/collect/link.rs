//! The event subscription: whether it lives, since when, and what was or may have been missed. It subscribes to nothing.

use super::observation::{Gap, GapCause};
use crate::transport::TransportError;

/// For how long a dead connection can go unnoticed, microseconds: a transport checks an idle one every few seconds and
/// gives it a few more to answer.
const UNNOTICED_MICROS: i64 = 30_000_000;

/// Pauses that are no further apart are one, microseconds.
const ONE_PAUSE_MICROS: i64 = 2_000_000;

/// The subscription. Times are microseconds since the Unix epoch.
#[derive(Debug)]
pub struct Link {
    live: bool,
    /// When `live` last changed.
    since_micros: i64,
    /// Why it does not live.
    reason: Option<String>,
    /// The broker answers, whether events flow or not.
    reachable: bool,
    /// The broker kept everything until the last time events began to flow.
    kept: bool,
    last_message_micros: Option<i64>,
    /// The beginning of the loss that lasts, when it lived before.
    lost_from_micros: Option<i64>,
    /// The last time this process stood still: from, to.
    paused: Option<(i64, i64)>,
}

/// What a lost connection means.
#[derive(Debug, PartialEq)]
pub struct Loss {
    /// The gap that begins; none when nothing had come before.
    pub gap: Option<Gap>,
}

/// What a new connection means.
#[derive(Debug, PartialEq)]
pub struct Revival {
    /// The gap that ends; none at the first connection.
    pub gap: Option<Gap>,
}

impl Link {
    /// Not connected yet.
    pub fn new(now_micros: i64) -> Self {
        Self {
            live: false,
            since_micros: now_micros,
            reason: None,
            reachable: false,
            kept: false,
            last_message_micros: None,
            lost_from_micros: None,
            paused: None,
        }
    }

    /// Whether events flow.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether the broker can be asked: events flow, or it only refuses them.
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// Whether the broker had kept everything when events began to flow.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// When that last changed.
    pub fn since_micros(&self) -> i64 {
        self.since_micros
    }

    /// Why events do not flow, where that is known.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// A message came.
    pub fn on_message(&mut self, received_micros: i64) {
        self.last_message_micros = Some(received_micros);
    }

    /// Messages flow from now on, all of them when they were `kept`.
    pub fn on_live(&mut self, at_micros: i64, kept: bool) -> Revival {
        self.reachable = true;
        self.kept = kept;
        if !self.live {
            self.live = true;
            self.since_micros = at_micros;
        }
        let reason = self.reason.take();
        let lost_from = self.lost_from_micros.take().filter(|_| !kept);
        let gap = lost_from.map(|start_micros| Gap {
            end_micros: Some(at_micros.max(start_micros)),
            ..lost(start_micros, reason.as_deref())
        });
        Revival { gap }
    }

    /// This process stood still: what came meanwhile is read afterwards, and what could not wait is lost.
    pub fn on_pause(&mut self, from_micros: i64, to_micros: i64) {
        let from_micros = match self.paused {
            // Out of breath after the first: what is read is still of that one.
            Some((from, to)) if from_micros - to < ONE_PAUSE_MICROS => from.min(from_micros),
            _ => from_micros,
        };
        self.paused = Some((from_micros, to_micros));
    }

    /// The connection is gone, or could not be made. `None` when that is no news. What the broker is asked to keep is a gap
    /// only if it turns out that it did not.
    pub fn on_lost(&mut self, at_micros: i64, error: &TransportError, kept: bool) -> Option<Loss> {
        let reason = error.to_string();
        self.reachable = matches!(error, TransportError::Forbidden { .. });
        if !self.live {
            let news = self.reason.as_ref() != Some(&reason);
            self.reason = Some(reason);
            return news.then_some(Loss { gap: None });
        }
        self.live = false;
        self.since_micros = at_micros;
        self.reason = Some(reason);
        // A connection may have been dead for a while: the last message is the last thing known to have come through.
        let earliest = at_micros - UNNOTICED_MICROS;
        let last = self.last_message_micros.unwrap_or(earliest);
        let start_micros = self.before_pause(last.clamp(earliest, at_micros), at_micros);
        self.lost_from_micros = Some(start_micros);
        let gap = (!kept).then(|| lost(start_micros, self.reason.as_deref()));
        Some(Loss { gap })
    }

    /// A buffer was full, the transport's or the broker's own.
    pub fn on_dropped(&mut self, messages: Option<u64>, from_micros: i64, to_micros: i64) -> Gap {
        let start_micros = self.before_pause(from_micros, to_micros);
        // The next one is a gap of its own, with its own beginning.
        self.paused = None;
        Gap {
            cause: GapCause::Overflow,
            start_micros,
            end_micros: Some(to_micros.max(from_micros)),
            dropped_messages: messages,
            detail: match messages {
                Some(messages) => format!("{messages} messages came faster than they were read"),
                None => "the broker's queue of events was full or too old".to_owned(),
            },
        }
    }

    /// The beginning of a loss noticed at `at_micros`. What is read after a pause was sent during it, and the server gives
    /// up a reader that stands still: so the loss began in the pause, though it is noticed after it.
    fn before_pause(&self, start_micros: i64, at_micros: i64) -> i64 {
        match self.paused {
            Some((from, to)) if at_micros - to < UNNOTICED_MICROS => start_micros.min(from),
            _ => start_micros,
        }
    }
}

fn lost(start_micros: i64, reason: Option<&str>) -> Gap {
    Gap {
        cause: GapCause::Reconnect,
        start_micros,
        end_micros: None,
        dropped_messages: None,
        detail: match reason {
            Some(reason) => format!("the event subscription was lost: {reason}"),
            None => "the event subscription was lost".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn gone(reason: &str) -> TransportError {
        TransportError::Unreachable {
            endpoint: "h".into(),
            reason: reason.into(),
        }
    }

    #[test]
    fn the_first_connection_ends_no_gap() {
        let mut link = Link::new(0);
        let no_gap = Some(Loss { gap: None });
        assert_eq!(link.on_lost(SECOND, &gone("refused"), false), no_gap);
        assert_eq!(link.on_lost(2 * SECOND, &gone("refused"), false), None);
        assert_eq!(
            link.on_lost(3 * SECOND, &gone("no such database"), false),
            no_gap,
            "another reason is news"
        );
        assert_eq!(link.on_live(4 * SECOND, false), Revival { gap: None });
        assert!(link.is_live());
        assert_eq!((link.since_micros(), link.reason()), (4 * SECOND, None));
    }

    #[test]
    fn a_gap_reaches_from_the_last_message_to_the_new_connection() {
        let mut link = Link::new(0);
        link.on_live(SECOND, false);
        link.on_message(98 * SECOND);
        let open = link.on_lost(100 * SECOND, &gone("connection closed"), false);
        let open = open.and_then(|loss| loss.gap).expect("it lived before");
        assert_eq!((open.start_micros, open.end_micros), (98 * SECOND, None));
        link.on_lost(101 * SECOND, &gone("connection refused"), false);
        assert_eq!(link.since_micros(), 100 * SECOND);
        let gap = link
            .on_live(107 * SECOND, false)
            .gap
            .expect("it lived before");
        assert_eq!(
            (gap.start_micros, gap.end_micros),
            (98 * SECOND, Some(107 * SECOND))
        );
        assert_eq!(gap.cause, GapCause::Reconnect);
        assert_eq!(
            gap.detail,
            "the event subscription was lost: cannot reach h: connection refused"
        );
        assert_eq!(
            link.on_live(108 * SECOND, false).gap,
            None,
            "one gap for one loss"
        );
    }

    #[test]
    fn a_loss_after_a_pause_began_in_it_and_a_pause_alone_is_no_loss() {
        let mut link = Link::new(0);
        link.on_live(SECOND, false);
        link.on_pause(10 * SECOND, 70 * SECOND);
        // What the kernel kept is read first.
        link.on_message(70 * SECOND + 1);
        let lost = |link: &mut Link, at: i64| link.on_lost(at, &gone("connection closed"), false);
        let start = |loss: Option<Loss>| loss.and_then(|loss| loss.gap).map(|gap| gap.start_micros);
        assert_eq!(start(lost(&mut link, 71 * SECOND)), Some(10 * SECOND));
        link.on_live(72 * SECOND, false);
        link.on_message(500 * SECOND);
        assert_eq!(start(lost(&mut link, 501 * SECOND)), Some(500 * SECOND));
    }

    #[test]
    fn pauses_that_follow_each_other_are_one() {
        let begun = |second: i64| {
            let mut link = Link::new(0);
            link.on_live(SECOND, false);
            link.on_pause(10 * SECOND, 20 * SECOND);
            link.on_pause(second * SECOND, 40 * SECOND);
            let gap = link.on_dropped(Some(1), 41 * SECOND, 42 * SECOND);
            gap.start_micros / SECOND
        };
        assert_eq!((begun(21), begun(30)), (10, 30));
    }

    #[test]
    fn of_several_overflows_after_a_pause_the_first_began_in_it() {
        let mut link = Link::new(0);
        link.on_pause(10, 20);
        assert_eq!(link.on_dropped(Some(5), 21, 22).start_micros, 10);
        assert_eq!(link.on_dropped(Some(7), 23, 24).start_micros, 23);
    }

    #[test]
    fn a_quiet_broker_does_not_make_a_gap_of_an_hour() {
        let mut link = Link::new(0);
        link.on_live(SECOND, false);
        link.on_message(2 * SECOND);
        link.on_lost(3_600 * SECOND, &gone("connection closed"), false);
        let gap = link
            .on_live(3_601 * SECOND, false)
            .gap
            .expect("it lived before");
        assert_eq!(gap.start_micros, 3_570 * SECOND);
    }

    #[test]
    fn what_the_broker_kept_is_no_gap_and_what_it_did_not_keep_is_one() {
        for kept in [true, false] {
            let mut link = Link::new(0);
            link.on_live(SECOND, false);
            link.on_message(98 * SECOND);
            let loss = link.on_lost(100 * SECOND, &gone("connection closed"), true);
            assert_eq!(loss, Some(Loss { gap: None }), "it is not known yet");
            let gap = link.on_live(107 * SECOND, kept).gap;
            let span = gap.map(|gap| (gap.start_micros, gap.end_micros));
            let missed = Some((98 * SECOND, Some(107 * SECOND)));
            assert_eq!(span, missed.filter(|_| !kept));
            assert_eq!(link.is_kept(), kept);
        }
    }

    #[test]
    fn a_broker_that_only_refuses_events_can_be_asked() {
        let mut link = Link::new(0);
        assert!(!link.is_reachable());
        let refused = TransportError::Forbidden {
            endpoint: "h".into(),
            action: "the queue of events",
            reason: "no".into(),
        };
        link.on_lost(SECOND, &refused, true);
        assert!(link.is_reachable() && !link.is_live());
        link.on_lost(2 * SECOND, &gone("closed"), true);
        assert!(!link.is_reachable());
    }
}
