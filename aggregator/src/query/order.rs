//! The order of a list, and places in it.

use std::cmp::Ordering;

use minicbor::{Decode, Encode};

use super::error::{Part, Problem, QueryError};
use super::field::{Field, Fields};
use super::task::TaskField;
use crate::state::{Micros, Symbol, Task, TaskId};

/// A field that tasks can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[expect(missing_docs, reason = "each is the task's field of that name")]
pub enum OrderField {
    #[n(0)]
    FirstSeen,
    #[n(1)]
    LastSeen,
    #[n(2)]
    FinishSeen,
    #[n(3)]
    Runtime,
    #[n(4)]
    Name,
    #[n(5)]
    State,
    #[n(6)]
    Worker,
}

impl OrderField {
    const ALL: [Self; 7] = [
        Self::FirstSeen,
        Self::LastSeen,
        Self::FinishSeen,
        Self::Runtime,
        Self::Name,
        Self::State,
        Self::Worker,
    ];

    /// The field of a task.
    pub fn field(self) -> TaskField {
        match self {
            Self::FirstSeen => TaskField::FirstSeen,
            Self::LastSeen => TaskField::LastSeen,
            Self::FinishSeen => TaskField::FinishSeen,
            Self::Runtime => TaskField::Runtime,
            Self::Name => TaskField::Name,
            Self::State => TaskField::State,
            Self::Worker => TaskField::Worker,
        }
    }
}

/// The order of a list of tasks: by the field; where it is the same, by `first_seen`; then by app and id. A descending
/// order is the ascending one reversed, except that tasks without a value come last in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// By what.
    #[n(0)]
    pub field: OrderField,
    /// Greatest first.
    #[n(1)]
    pub descending: bool,
}

impl Default for Order {
    /// The newest first.
    fn default() -> Self {
        Self {
            field: OrderField::FirstSeen,
            descending: true,
        }
    }
}

/// The value a task is ordered by.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum SortKey {
    /// A time.
    #[n(0)]
    Time(#[n(0)] Micros),
    /// A number; not NaN.
    #[n(1)]
    Number(#[n(0)] f64),
    /// A text.
    #[n(2)]
    Text(#[n(0)] Symbol),
    /// It has none.
    #[n(3)]
    Absent,
}

/// A task's place in an order, whether or not the task is still there.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Position {
    /// The value it is ordered by.
    #[n(0)]
    pub key: SortKey,
    /// When it was first seen.
    #[n(1)]
    pub first_seen: Micros,
    /// Its app.
    #[n(2)]
    pub app: Symbol,
    /// Its id.
    #[n(3)]
    pub id: TaskId,
}

/// The value a task is ordered by, where it is.
#[derive(Debug, Clone, Copy)]
enum Key<'t> {
    Time(Micros),
    Number(f64),
    Text(&'t str),
    Absent,
}

impl<'t> From<&'t SortKey> for Key<'t> {
    fn from(key: &'t SortKey) -> Self {
        match key {
            SortKey::Time(time) => Self::Time(*time),
            SortKey::Number(number) => Self::Number(*number),
            SortKey::Text(text) => Self::Text(text),
            SortKey::Absent => Self::Absent,
        }
    }
}

impl From<Key<'_>> for SortKey {
    fn from(key: Key<'_>) -> Self {
        match key {
            Key::Time(time) => Self::Time(time),
            Key::Number(number) => Self::Number(number),
            Key::Text(text) => Self::Text(text.into()),
            Key::Absent => Self::Absent,
        }
    }
}

/// A [`Position`] whose parts are still those of the task: many can be compared and nothing is copied.
#[derive(Debug, Clone, Copy)]
pub struct Place<'t> {
    key: Key<'t>,
    first_seen: Micros,
    app: &'t Symbol,
    id: &'t TaskId,
}

impl<'t> From<&'t Position> for Place<'t> {
    fn from(position: &'t Position) -> Self {
        Self {
            key: Key::from(&position.key),
            first_seen: position.first_seen,
            app: &position.app,
            id: &position.id,
        }
    }
}

impl From<Place<'_>> for Position {
    fn from(place: Place<'_>) -> Self {
        Self {
            key: place.key.into(),
            first_seen: place.first_seen,
            app: place.app.clone(),
            id: place.id.clone(),
        }
    }
}

impl Order {
    /// Parses `order_by`: one field, then ` desc`, ` asc` or nothing. Empty is `first_seen desc`.
    ///
    /// # Errors
    /// Anything else; the error lists the fields.
    pub fn parse(order_by: &str) -> Result<Self, QueryError> {
        let mut words = order_by.split_ascii_whitespace();
        let Some(name) = words.next() else {
            return Ok(Self::default());
        };
        let position = order_by.find(name).map(|at| order_by[..at].chars().count());
        let error = |problem| QueryError {
            part: Part::OrderBy,
            problem,
            position,
        };
        let Some(field) = OrderField::ALL
            .into_iter()
            .find(|it| it.field().name() == name)
        else {
            return Err(error(Problem::UnknownField {
                field: name.to_owned(),
                known: OrderField::ALL.map(|it| it.field().name()).to_vec(),
            }));
        };
        let descending = match (words.next(), words.next()) {
            (None | Some("asc"), None) => false,
            (Some("desc"), None) => true,
            _ => {
                let text = "Expected one field and then desc, asc or nothing".to_owned();
                return Err(error(Problem::Syntax(text)));
            }
        };
        Ok(Self { field, descending })
    }

    /// The task's place, to be kept.
    pub fn position(self, app: &Symbol, task: &Task) -> Position {
        self.place(app, task).into()
    }

    /// The task's place.
    pub fn place<'t>(self, app: &'t Symbol, task: &'t Task) -> Place<'t> {
        Place {
            key: self.key(task),
            first_seen: task.first_seen,
            app,
            id: &task.id,
        }
    }

    fn key(self, task: &Task) -> Key<'_> {
        let field = self.field.field();
        let text = match self.field {
            OrderField::FirstSeen | OrderField::LastSeen | OrderField::FinishSeen => {
                return task.time(field).map_or(Key::Absent, Key::Time);
            }
            OrderField::Runtime => return task.number(field).map_or(Key::Absent, Key::Number),
            OrderField::Name => task.name.as_deref(),
            OrderField::State => Some(task.state.as_str()),
            OrderField::Worker => task.worker.as_deref(),
        };
        text.map_or(Key::Absent, Key::Text)
    }

    /// Which of two comes first.
    pub fn compare(self, left: &Position, right: &Position) -> Ordering {
        self.compare_places(left.into(), right.into())
    }

    /// Which of two places comes first.
    pub fn compare_places(self, left: Place<'_>, right: Place<'_>) -> Ordering {
        self.compare_borrowed(left.key, right.key).then_with(|| {
            self.turned((left.first_seen, left.app, left.id).cmp(&(
                right.first_seen,
                right.app,
                right.id,
            )))
        })
    }

    /// Which of two values comes first.
    pub fn compare_keys(self, left: &SortKey, right: &SortKey) -> Ordering {
        self.compare_borrowed(left.into(), right.into())
    }

    fn compare_borrowed(self, left: Key<'_>, right: Key<'_>) -> Ordering {
        match (left, right) {
            (Key::Absent, Key::Absent) => Ordering::Equal,
            (Key::Time(left), Key::Time(right)) => self.turned(left.cmp(&right)),
            (Key::Number(left), Key::Number(right)) => self.turned(left.total_cmp(&right)),
            (Key::Text(left), Key::Text(right)) => self.turned(left.cmp(right)),
            // What is absent comes last. Other pairs are of two orders, which only a forged place can give; any fixed
            // answer will do.
            (Key::Time(_), _) | (Key::Number(_), Key::Text(_)) | (_, Key::Absent) => Ordering::Less,
            (Key::Number(_) | Key::Text(_) | Key::Absent, _) => Ordering::Greater,
        }
    }

    /// The ordering in this direction.
    pub fn turned(self, ordering: Ordering) -> Ordering {
        if self.descending {
            ordering.reverse()
        } else {
            ordering
        }
    }
}
