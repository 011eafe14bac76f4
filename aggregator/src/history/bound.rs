//! Between which places of an order all rows of a block are: enough to pass over most blocks.

use std::cmp::Ordering;

use super::facts::{Range, Zone};
use crate::query::{Order, OrderField, Position, SortKey};
use crate::state::{Micros, Symbol};

/// A place, as far as the value a list is ordered by and `first_seen` tell.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) key: SortKey,
    /// After every row with this value, before the next value.
    beyond: bool,
    first_seen: Micros,
}

impl Edge {
    /// Whether a row is certainly before this place.
    pub(super) fn is_after(&self, order: Order, row: &Position) -> bool {
        let keys = order.compare_keys(&row.key, &self.key);
        let rest = || {
            if self.beyond {
                return Ordering::Less;
            }
            order.turned(row.first_seen.cmp(&self.first_seen))
        };
        keys.then_with(rest) == Ordering::Less
    }

    fn compare(&self, other: &Self, order: Order) -> Ordering {
        order
            .compare_keys(&self.key, &other.key)
            .then(self.beyond.cmp(&other.beyond))
            .then_with(|| order.turned(self.first_seen.cmp(&other.first_seen)))
    }

    /// The time, when the order is by a time and rows with just this one may come next.
    pub(super) fn time(&self) -> Option<Micros> {
        match self.key {
            SortKey::Time(time) if !self.beyond => Some(time),
            _ => None,
        }
    }
}

/// Where the rows of a block that come after a place may be.
#[derive(Debug, Clone)]
pub(super) enum Bound {
    /// Nowhere: all are before it.
    Behind,
    /// From here on.
    From(Edge),
    /// Not known: the block was written before its kind of value was kept.
    Unknown,
}

impl Bound {
    /// Of a block, for what comes after `after`.
    pub(super) fn of(order: Order, zone: &Zone, after: Option<&Position>) -> Self {
        let seen = &zone.first_seen;
        let ends = Ends {
            rows: zone.rows,
            order,
        };
        let keys = match order.field {
            OrderField::FirstSeen => Some(ends.of(seen, SortKey::Time)),
            OrderField::LastSeen => Some(ends.of(&zone.last_seen, SortKey::Time)),
            OrderField::FinishSeen => Some(ends.of(&zone.finish_seen, SortKey::Time)),
            OrderField::Runtime => {
                let runtime = zone.runtime.as_ref();
                runtime.map(|range| ends.of(range, SortKey::Number))
            }
            OrderField::Name => ends.of_text(zone.name.as_ref()),
            OrderField::State => ends.of_text(zone.state.as_ref()),
            OrderField::Worker => ends.of_text(zone.worker.as_ref()),
        };
        let (Some((best, worst)), true) = (keys, seen.count > 0) else {
            return Self::Unknown;
        };
        let (first, last) = if order.descending {
            (seen.most, seen.least)
        } else {
            (seen.least, seen.most)
        };
        let edge = Edge {
            key: best,
            beyond: false,
            first_seen: first,
        };
        let Some(after) = after else {
            return Self::From(edge);
        };
        // Rows with the value of that place have to be seen after it; whether any is, the span of the block tells.
        let has_later = order.turned(last.cmp(&after.first_seen)) != Ordering::Less;
        match order.compare_keys(&worst, &after.key) {
            Ordering::Less => return Self::Behind,
            Ordering::Equal if !has_later => return Self::Behind,
            _ => {}
        }
        let next = Edge {
            key: after.key.clone(),
            beyond: !has_later,
            first_seen: if has_later && order.turned(first.cmp(&after.first_seen)) == Ordering::Less
            {
                after.first_seen
            } else {
                first
            },
        };
        Self::From(match edge.compare(&next, order) {
            Ordering::Less => next,
            _ => edge,
        })
    }

    /// In which order blocks are looked at: by the best that each may have. What is not known must be looked at anyway.
    pub(super) fn compare(&self, other: &Self, order: Order) -> Ordering {
        let place = |bound: &Self| match bound {
            Self::Unknown => 0,
            Self::From(_) => 1,
            Self::Behind => 2,
        };
        match (self, other) {
            (Self::From(left), Self::From(right)) => left.compare(right, order),
            _ => place(self).cmp(&place(other)),
        }
    }
}

/// Finds the best and the worst value of a block in an order.
#[derive(Clone, Copy)]
struct Ends {
    rows: u32,
    order: Order,
}

impl Ends {
    fn of<T: Clone>(self, range: &Range<T>, key: impl Fn(T) -> SortKey) -> (SortKey, SortKey) {
        if range.count == 0 {
            return (SortKey::Absent, SortKey::Absent);
        }
        let (least, most) = (key(range.least.clone()), key(range.most.clone()));
        let (best, worst) = if self.order.descending {
            (most, least)
        } else {
            (least, most)
        };
        // What has no value comes last.
        let has_all = range.count == self.rows;
        (best, if has_all { worst } else { SortKey::Absent })
    }

    fn of_text(self, range: Option<&Range<Symbol>>) -> Option<(SortKey, SortKey)> {
        range.map(|range| self.of(range, SortKey::Text))
    }
}
