//! The list of tasks: filtered and ordered by the aggregator, which has history, and read again while it is looked at.

use celeriac_client::v1;
use jiff::{SignedDuration, Timestamp};

use super::Action;

/// Rows read at first, and how many more when the end is reached.
const LIMIT_STEP: u64 = 200;
/// The most rows: who looks further narrows the filter.
const LIMIT_MAX: u64 = 1_000;
/// A list is read again after this, or after five times what the last one took, so that a long scan is not run over and over.
const EVERY: SignedDuration = SignedDuration::from_secs(1);
const EVERY_TIMES: i32 = 5;

/// What the aggregator can order by, and whether the largest comes first.
pub(crate) const ORDERS: [(&str, bool); 7] = [
    ("first_seen", true),
    ("last_seen", true),
    ("finish_seen", true),
    ("runtime", true),
    ("name", false),
    ("state", false),
    ("worker", false),
];

/// Tasks that match, in order.
#[derive(Debug)]
pub(crate) struct TaskList {
    app: String,
    pub(crate) filter: String,
    pub(crate) search: String,
    /// Which of [`ORDERS`].
    pub(crate) order: usize,
    /// The other way round.
    pub(crate) reverse: bool,
    pub(crate) rows: Vec<v1::Task>,
    /// As of when (the aggregator's clock); `None` before the first answer.
    pub(crate) as_of: Option<prost_types::Timestamp>,
    pub(crate) scan: Option<v1::ScanProgress>,
    /// Whether there are more than were asked for.
    pub(crate) more: bool,
    pub(crate) error: Option<String>,
    limit: u64,
    generation: u64,
    /// When the list that is under way was asked for.
    asked: Option<Timestamp>,
    due: Timestamp,
}

impl TaskList {
    pub(super) fn new(app: String, now: Timestamp) -> Self {
        Self {
            app,
            filter: String::new(),
            search: String::new(),
            order: 0,
            reverse: false,
            rows: Vec::new(),
            as_of: None,
            scan: None,
            more: false,
            error: None,
            limit: LIMIT_STEP,
            generation: 0,
            asked: None,
            due: now,
        }
    }

    /// Whether an answer to the present question is still to come for the first time.
    pub(crate) fn loading(&self) -> bool {
        self.as_of.is_none() && self.error.is_none()
    }

    /// Whether only some tasks are wanted.
    pub(crate) fn narrowed(&self) -> bool {
        !self.filter.is_empty() || !self.search.is_empty()
    }

    /// Another filter, in AIP-160 or in Flower's grammar.
    pub(crate) fn narrow(
        &mut self,
        now: Timestamp,
        filter: String,
        search: String,
    ) -> Option<Action> {
        self.filter = filter;
        self.search = search;
        self.anew(now)
    }

    /// The next or previous order.
    pub(crate) fn sort(&mut self, now: Timestamp, forward: bool) -> Option<Action> {
        let step = if forward { 1 } else { ORDERS.len() - 1 };
        self.order = (self.order + step) % ORDERS.len();
        self.reverse = false;
        self.anew(now)
    }

    /// The other direction.
    pub(crate) fn turn(&mut self, now: Timestamp) -> Option<Action> {
        self.reverse = !self.reverse;
        self.anew(now)
    }

    /// The end was reached: more rows are wanted.
    pub(crate) fn extend(&mut self, now: Timestamp) -> Option<Action> {
        if !self.more || self.limit >= LIMIT_MAX {
            return None;
        }
        self.limit = (self.limit + LIMIT_STEP).min(LIMIT_MAX);
        self.ask(now)
    }

    /// Asks when it is time and nothing is under way.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<Action> {
        if self.asked.is_some() || now < self.due {
            return None;
        }
        self.ask(now)
    }

    pub(super) fn found(
        &mut self,
        now: Timestamp,
        generation: u64,
        page: v1::ListTasksResponse,
        last: bool,
    ) {
        if generation != self.generation {
            return;
        }
        self.scan = page.scan;
        // A list that is read again replaces what is shown only when it is whole.
        if last || self.as_of.is_none() {
            self.rows = page.tasks;
            self.more = last && !page.next_page_token.is_empty();
            self.error = None;
        }
        if last {
            self.as_of = page
                .as_of
                .or_else(|| Some(prost_types::Timestamp::default()));
            self.rest(now);
        }
    }

    pub(super) fn failed(&mut self, now: Timestamp, generation: u64, error: String) {
        if generation == self.generation {
            self.error = Some(error);
            self.rest(now);
        }
    }

    fn rest(&mut self, now: Timestamp) {
        let took = self
            .asked
            .take()
            .map_or(SignedDuration::ZERO, |asked| now.duration_since(asked));
        self.due = now + EVERY.max(took.saturating_mul(EVERY_TIMES));
    }

    fn anew(&mut self, now: Timestamp) -> Option<Action> {
        self.rows.clear();
        self.as_of = None;
        self.scan = None;
        self.more = false;
        self.error = None;
        self.limit = LIMIT_STEP;
        self.ask(now)
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "its callers may have nothing to ask"
    )]
    fn ask(&mut self, now: Timestamp) -> Option<Action> {
        self.generation += 1;
        self.asked = Some(now);
        let (field, down) = ORDERS[self.order];
        let direction = if down == self.reverse { "asc" } else { "desc" };
        Some(Action::ListTasks {
            generation: self.generation,
            limit: self.limit,
            request: v1::ListTasksRequest {
                app: self.app.clone(),
                filter: self.filter.clone(),
                search: self.search.clone(),
                order_by: format!("{field} {direction}"),
                ..Default::default()
            },
        })
    }
}
