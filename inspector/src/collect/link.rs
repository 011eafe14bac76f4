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
            cause: GapCause::Reconnect,
            start_micros,
            end_micros: at_micros.max(start_micros),
            dropped_messages: None,
            detail: match reason {
                Some(reason) => format!("the event subscription was lost: {reason}"),
                None => "the event subscription was lost".to_owned(),
            },
        });
        Revival { gap }
    }

    /// The connection is gone, or could not be made. True when that is news.
    pub fn on_lost(&mut self, at_micros: i64, reason: String) -> bool {
        if !self.live {
            let news = self.reason.as_ref() != Some(&reason);
            self.reason = Some(reason);
            return news;
        }
        self.live = false;
        self.since_micros = at_micros;
        self.reason = Some(reason);
        // A connection may have been dead for a while: the last message is the last thing known to have come through.
        let earliest = at_micros - UNNOTICED_MICROS;
        let last = self.last_message_micros.unwrap_or(earliest);
        self.lost_from_micros = Some(last.clamp(earliest, at_micros));
        true
    }

    /// The transport's buffer was full.
    pub fn on_dropped(messages: u64, from_micros: i64, to_micros: i64) -> Gap {
        Gap {
            cause: GapCause::Overflow,
            start_micros: from_micros,
            end_micros: to_micros.max(from_micros),
            dropped_messages: Some(messages),
            detail: format!("{messages} messages came faster than they were read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn the_first_connection_ends_no_gap() {
        let mut link = Link::new(0);
        assert!(link.on_lost(SECOND, "cannot reach redis://h:6379/0: refused".into()));
        assert!(!link.on_lost(2 * SECOND, "cannot reach redis://h:6379/0: refused".into()));
        assert!(
            link.on_lost(3 * SECOND, "no such database".into()),
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
        link.on_lost(100 * SECOND, "connection closed".into());
        link.on_lost(101 * SECOND, "connection refused".into());
        assert_eq!(link.since_micros(), 100 * SECOND);
        let gap = link.on_live(107 * SECOND).gap.expect("it lived before");
        assert_eq!(
            (gap.start_micros, gap.end_micros),
            (98 * SECOND, 107 * SECOND)
        );
        assert_eq!(gap.cause, GapCause::Reconnect);
        assert_eq!(
            gap.detail,
            "the event subscription was lost: connection refused"
        );
        assert_eq!(link.on_live(108 * SECOND).gap, None, "one gap for one loss");
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
