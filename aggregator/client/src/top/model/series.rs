//! How fast the whole app went over the last minutes, second by second.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::things::{COUNTERS, Tracked, grown};

/// Seconds kept: what the widest usual terminal can show as one column each.
pub(crate) const SECONDS_MAX: usize = 240;

/// Rates of all task names together.
#[derive(Debug)]
pub(crate) struct Series {
    window: Tracked<()>,
    last: Option<(Timestamp, [u64; COUNTERS])>,
    /// Starts per second, oldest first; `None` for a second in which nothing was heard.
    pub(crate) starts: VecDeque<Option<f64>>,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            window: Tracked::new(()),
            last: None,
            starts: VecDeque::new(),
        }
    }
}

impl Series {
    /// Notes the counters of all names now.
    pub(super) fn sample(&mut self, now: Timestamp, totals: [u64; COUNTERS]) {
        self.window.sample(now, totals);
        if let Some((last, before)) = self.last {
            let seconds = now.duration_since(last).as_secs_f64();
            if seconds > 0.0 {
                self.push(Some(grown(before[0], totals[0]) / seconds));
            }
        }
        self.last = Some((now, totals));
    }

    /// Nothing was heard: the next growth belongs to no second.
    pub(super) fn pause(&mut self) {
        if self.last.take().is_some() {
            self.push(None);
        }
        self.window = Tracked::new(());
    }

    /// A counter's growth per second over the last ten.
    pub(crate) fn rate(&self, counter: usize) -> Option<f64> {
        self.window.rate(counter)
    }

    fn push(&mut self, rate: Option<f64>) {
        self.starts.push_back(rate);
        if self.starts.len() > SECONDS_MAX {
            self.starts.pop_front();
        }
    }
}
