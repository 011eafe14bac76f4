//! The starts that a worker counts against those that were seen, in one life of it: what was missed, and between which two
//! heartbeats.
//!
//! A worker numbers its events with a clock of its own, and reads `processed` just before it numbers a heartbeat. So the
//! starts that a heartbeat counts are those with a smaller clock, whatever the order in which they come: a heartbeat
//! overtakes the events that wait for the next turn of its worker's loop (`task.multi`). They are there before the next
//! heartbeat, which is when the first is compared.

use minicbor::{Decode, Encode};

use super::ids::Micros;

/// A counter-bearing worker event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Mark {
    /// Starts that the worker has counted.
    #[n(0)]
    processed: u64,
    /// Its clock.
    #[n(1)]
    clock: Option<u64>,
    /// When it came (receive time).
    #[n(2)]
    received: Micros,
    /// Starts seen with a smaller clock, since the base.
    #[n(3)]
    seen: u64,
}

impl Mark {
    /// What the worker counted and we did not see, since its life began.
    fn difference(&self) -> u64 {
        self.processed.saturating_sub(self.seen)
    }

    /// Whether something of that clock was before it.
    fn is_after(&self, clock: Option<u64>) -> bool {
        clock
            .zip(self.clock)
            .is_some_and(|(clock, own)| clock < own)
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing could be compared.
    Nothing,
    /// Nothing was missed until then (receive time).
    Agrees(Micros),
    /// Starts were missed.
    Missed(Missed),
    /// This many that were taken for missed came after all.
    Found(u64),
}

/// Starts that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missed {
    /// How many.
    pub(super) starts: u64,
    /// Of how many, since the last heartbeat that agreed.
    pub(super) of: u64,
    /// The last heartbeat that agreed (receive time).
    pub(super) from: Micros,
    /// The first that did not (receive time).
    pub(super) to: Micros,
    /// Heartbeats, one after another, that did not.
    pub(super) marks: u32,
    /// The last of them (receive time): until then it is accounted for.
    at: Micros,
}

/// The account of one life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ledger {
    /// Where the account begins: starts before it are not ours to see.
    #[n(0)]
    base: Option<Mark>,
    /// The latest mark; starts that it counts may be on their way.
    #[n(1)]
    latest: Option<Mark>,
    /// Starts seen since the base.
    #[n(2)]
    seen: u64,
    /// The difference that is accounted for.
    #[n(3)]
    agreed: u64,
    /// The last mark that had no other difference (receive time).
    #[n(4)]
    agreed_at: Micros,
    /// `processed` of that mark.
    #[n(5)]
    agreed_processed: u64,
    /// Marks in a row with a greater difference.
    #[n(6)]
    excess_marks: u32,
    /// The smallest excess of them.
    #[n(7)]
    excess: u64,
    /// The first of them (receive time).
    #[n(8)]
    excess_from: Micros,
    /// Starts missed in this life, as far as they are accounted for.
    #[n(9)]
    missed: u64,
}

impl Ledger {
    /// Starts missed in this life; `None` before two marks could be compared.
    pub fn missed(&self) -> Option<u64> {
        self.latest.map(|_| self.missed)
    }

    /// A start was seen.
    pub(super) fn on_start(&mut self, clock: Option<u64>) {
        let Some(base) = &self.base else { return };
        if base.is_after(clock) {
            return;
        }
        self.seen += 1;
        if let Some(latest) = &mut self.latest
            && latest.is_after(clock)
        {
            latest.seen += 1;
        }
    }

    /// A mark came; compares the one before it, whose starts have all come by now.
    pub(super) fn on_mark(
        &mut self,
        processed: u64,
        clock: Option<u64>,
        received: Micros,
    ) -> Finding {
        let mark = Mark {
            processed,
            clock,
            received,
            seen: self.seen,
        };
        if self.base.is_none() {
            self.base = Some(mark);
            self.agreed = processed;
            self.agree(&mark);
            return Finding::Nothing;
        }
        match self.latest.replace(mark) {
            Some(before) => self.compare(&before),
            None => Finding::Nothing,
        }
    }

    /// Compares the latest mark: nothing more will come.
    pub(super) fn close(&mut self) -> Finding {
        let latest = self.latest;
        latest.map_or(Finding::Nothing, |latest| self.compare(&latest))
    }

    fn agree(&mut self, mark: &Mark) {
        self.agreed_at = mark.received;
        self.agreed_processed = mark.processed;
        self.excess_marks = 0;
    }

    fn compare(&mut self, mark: &Mark) -> Finding {
        let difference = mark.difference();
        if difference < self.agreed {
            let found = (self.agreed - difference).min(self.missed);
            self.missed -= found;
            self.agreed = difference;
            self.agree(mark);
            return match found {
                0 => Finding::Agrees(mark.received),
                _ => Finding::Found(found),
            };
        }
        let excess = difference - self.agreed;
        if excess == 0 {
            self.agree(mark);
            return Finding::Agrees(mark.received);
        }
        if self.excess_marks == 0 {
            self.excess = excess;
            self.excess_from = mark.received;
        }
        self.excess_marks = self.excess_marks.saturating_add(1);
        self.excess = self.excess.min(excess);
        Finding::Missed(Missed {
            starts: self.excess,
            of: mark.processed.saturating_sub(self.agreed_processed),
            from: self.agreed_at,
            to: self.excess_from,
            marks: self.excess_marks,
            at: mark.received,
        })
    }

    /// What was found to be missed is accounted for; whatever is missed later is a matter of its own.
    pub(super) fn account(&mut self, missed: Missed) {
        self.agreed += missed.starts;
        self.missed += missed.starts;
        self.agreed_at = missed.at;
        self.agreed_processed += missed.of;
        self.excess_marks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told in turn: `s5` is a start with clock 5, `h9=3@20` a heartbeat with clock 9 that counts 3 and comes at 20.
    fn tell(ledger: &mut Ledger, told: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for word in told.split_whitespace() {
            if let Some(clock) = word.strip_prefix('s') {
                ledger.on_start(Some(clock.parse().unwrap()));
                continue;
            }
            let (clock, rest) = word[1..].split_once('=').unwrap();
            let (processed, received) = rest.split_once('@').unwrap();
            let finding = ledger.on_mark(
                processed.parse().unwrap(),
                Some(clock.parse().unwrap()),
                received.parse().unwrap(),
            );
            if let Finding::Missed(missed) = finding {
                ledger.account(missed);
            }
            findings.push(finding);
        }
        findings
    }

    fn missed(told: &str) -> Option<u64> {
        let mut ledger = Ledger::default();
        tell(&mut ledger, told);
        ledger.missed()
    }

    #[test]
    fn starts_that_a_heartbeat_overtook_are_not_missed() {
        assert_eq!(missed("h1=0@0 h4=2@2 s2 s3 h5=2@4 h6=2@6"), Some(0));
    }

    #[test]
    fn what_comes_after_a_heartbeat_hides_nothing_that_was_missed_before_it() {
        // Clocks 2 and 3 were missed, and as many starts as ever follow.
        assert_eq!(missed("h1=0@0 h4=2@2 s5 s6 s7 h8=5@4 h9=5@6"), Some(2));
    }

    #[test]
    fn the_account_begins_with_the_first_heartbeat_by_its_clock() {
        // 40 were started before; one of them is still on its way.
        assert_eq!(missed("h100=40@0 s99 s101 h102=41@2 h103=41@4"), Some(0));
    }

    #[test]
    fn the_span_is_that_between_the_heartbeats() {
        let mut ledger = Ledger::default();
        let findings = tell(&mut ledger, "h1=0@0 s2 h3=1@2 h9=5@4 h10=5@6 h11=5@8");
        let found = Finding::Missed(Missed {
            starts: 4,
            of: 4,
            from: 2,
            to: 4,
            marks: 1,
            at: 4,
        });
        assert_eq!(findings[3], found);
        assert_eq!(findings[4], Finding::Agrees(6));
    }

    #[test]
    fn what_comes_after_all_is_given_back() {
        let mut ledger = Ledger::default();
        tell(&mut ledger, "h1=0@0 h4=2@2 h5=2@4");
        assert_eq!(ledger.missed(), Some(2));
        let findings = tell(&mut ledger, "s2 s3 h6=2@6 h7=2@8");
        assert_eq!(findings, [Finding::Found(2), Finding::Agrees(6)]);
        assert_eq!(ledger.missed(), Some(0));
    }
}
