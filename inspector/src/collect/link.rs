//! The event subscription: whether it lives, since when, and what was or may have been missed. It subscribes to nothing.

use super::observation::{Gap, GapCause};

/// For how long a dead connection can go unnoticed, microseconds: a transport checks an idle one every few seconds and
/// gives it a few more to answer.
const UNNOTICED_MICROS: i64 = 30_000_000;

/// The subscription. Times are microseconds since the Unix epoch.
#[derive(Debug)]
pub struct Link {
    live: bool,
    /// When `live` last changed.
    since_micros: i64,
    /// Why it does not live.
    reason: Option<String>,
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
            last_message_micros: None,
            lost_from_micros: None,
            paused: None,
        }
    }

    /// Whether events flow.
    pub fn is_live(&self) -> bool {
        self.live
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

    /// Messages flow from now on.
    pub fn on_live(&mut self, at_micros: i64) -> Revival {
        if !self.live {
            self.live = true;
            self.since_micros = at_micros;
        }
        let reason = self.reason.take();
        let gap = self.lost_from_micros.take().map(|start_micros| Gap {
            end_micros: Some(at_micros.max(start_micros)),
            ..lost(start_micros, reason.as_deref())
        });
        Revival { gap }
    }

    /// This process stood still: what came meanwhile is read afterwards, and what could not wait is lost.
    pub fn on_pause(&mut self, from_micros: i64, to_micros: i64) {
        self.paused = Some((from_micros, to_micros));
    }

    /// The connection is gone, or could not be made. `None` when that is no news.
    pub fn on_lost(&mut self, at_micros: i64, reason: String) -> Option<Loss> {
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
        let gap = Some(lost(start_micros, self.reason.as_deref()));
        Some(Loss { gap })
    }

    /// The transport's buffer was full.
    pub fn on_dropped(&mut self, messages: u64, from_micros: i64, to_micros: i64) -> Gap {
        let start_micros = self.before_pause(from_micros, to_micros);
        // The next one is a gap of its own, with its own beginning.
        self.paused = None;
        Gap {
            cause: GapCause::Overflow,
            start_micros,
            end_micros: Some(to_micros.max(from_micros)),
            dropped_messages: Some(messages),
            detail: format!("{messages} messages came faster than they were read"),
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

    #[test]
    fn the_first_connection_ends_no_gap() {
        let mut link = Link::new(0);
        let refused = || "cannot reach redis://h:6379/0: refused".to_owned();
        let no_gap = Some(Loss { gap: None });
        assert_eq!(link.on_lost(SECOND, refused()), no_gap);
        assert_eq!(link.on_lost(2 * SECOND, refused()), None);
        assert_eq!(
            link.on_lost(3 * SECOND, "no such database".into()),
            no_gap,
            "another reason is news"
        );
        assert_eq!(link.on_live(4 * SECOND), Revival { gap: None });
        assert!(link.is_live());
        assert_eq!((link.since_micros(), link.reason()), (4 * SECOND, None));
    }

    #[test]
    fn a_gap_reaches_from_the_last_message_to_the_new_connection() {
        let mut link = Link::new(0);
        link.on_live(SECOND);
        link.on_message(98 * SECOND);
        let open = link.on_lost(100 * SECOND, "connection closed".into());
        let open = open.and_then(|loss| loss.gap).expect("it lived before");
        assert_eq!((open.start_micros, open.end_micros), (98 * SECOND, None));
        link.on_lost(101 * SECOND, "connection refused".into());
        assert_eq!(link.since_micros(), 100 * SECOND);
        let gap = link.on_live(107 * SECOND).gap.expect("it lived before");
        assert_eq!(
            (gap.start_micros, gap.end_micros),
            (98 * SECOND, Some(107 * SECOND))
        );
        assert_eq!(gap.cause, GapCause::Reconnect);
        assert_eq!(
            gap.detail,
            "the event subscription was lost: connection refused"
        );
        assert_eq!(link.on_live(108 * SECOND).gap, None, "one gap for one loss");
    }

    #[test]
    fn a_loss_after_a_pause_began_in_it_and_a_pause_alone_is_no_loss() {
        let mut link = Link::new(0);
        link.on_live(SECOND);
        link.on_pause(10 * SECOND, 70 * SECOND);
        // What the kernel kept is read first.
        link.on_message(70 * SECOND + 1);
        let lost = |link: &mut Link, at: i64| link.on_lost(at, "connection closed".into());
        let start = |loss: Option<Loss>| loss.and_then(|loss| loss.gap).map(|gap| gap.start_micros);
        assert_eq!(start(lost(&mut link, 71 * SECOND)), Some(10 * SECOND));
        link.on_live(72 * SECOND);
        link.on_message(500 * SECOND);
        assert_eq!(start(lost(&mut link, 501 * SECOND)), Some(500 * SECOND));
    }

    #[test]
    fn of_several_overflows_after_a_pause_the_first_began_in_it() {
        let mut link = Link::new(0);
        link.on_pause(10, 20);
        assert_eq!(link.on_dropped(5, 21, 22).start_micros, 10);
        assert_eq!(link.on_dropped(7, 23, 24).start_micros, 23);
    }

    #[test]
    fn a_quiet_broker_does_not_make_a_gap_of_an_hour() {
        let mut link = Link::new(0);
        link.on_live(SECOND);
        link.on_message(2 * SECOND);
        link.on_lost(3_600 * SECOND, "connection closed".into());
        let gap = link.on_live(3_601 * SECOND).gap.expect("it lived before");
        assert_eq!(gap.start_micros, 3_570 * SECOND);
    }
}
