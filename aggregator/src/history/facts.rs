//! What the columns hold of one row, and of a block as a whole.

use std::cmp::Ordering;

use hashbrown::HashMap;
use minicbor::{Decode, Encode};

use super::column::{Ids, encode_codes, encode_integers, encode_numbers, encode_shorts};
use super::identity::short;
use crate::query::{Fields, TaskField};
use crate::state::{Micros, Symbol, Task, TaskId, TaskState};

/// Rows per block: columns of one byte a row fit one page; the rows not yet in a block, at most one less, are read from
/// their table by every list.
pub(super) const BLOCK: i64 = 2_048;
/// The same, as a length.
pub(super) const BLOCK_ROWS: usize = 2_048;
/// Columns that a block may have; `fact.id` is block × this + column.
pub(super) const COLUMNS: i64 = 32;
/// The same, as a length.
pub(super) const COLUMN_COUNT: usize = 32;

/// A column of a block. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// The texts that codes stand for.
    Dictionary = 0,
    App = 1,
    Name = 2,
    State = 3,
    Worker = 4,
    Queue = 5,
    Client = 6,
    Retries = 7,
    Runtime = 8,
    Flags = 9,
    FirstSeen = 10,
    LastSeen = 11,
    FinishSeen = 12,
    Sent = 13,
    Received = 14,
    Started = 15,
    Root = 16,
    Parent = 17,
    Id = 18,
}

/// Bit of the `Flags` column: finished.
pub(super) const FINISHED: i64 = 1;
/// Bit of the `Flags` column: lost.
pub(super) const LOST: i64 = 2;
/// Bit of the `Flags` column: outcome unknown.
pub(super) const OUTCOME_UNKNOWN: i64 = 4;

/// What the columns hold of one row.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// `None` when the row is not there.
    app: Option<Symbol>,
    id: TaskId,
    name: Option<Symbol>,
    state: TaskState,
    worker: Option<Symbol>,
    queue: Option<Symbol>,
    client: Option<Symbol>,
    retries: Option<i64>,
    runtime: Option<f64>,
    flags: i64,
    /// First, last, finish, sent, received, started; in the order of the columns.
    times: [Option<Micros>; 6],
    root: u32,
    parent: u32,
}

const TIMES: [(Column, TaskField); 6] = [
    (Column::FirstSeen, TaskField::FirstSeen),
    (Column::LastSeen, TaskField::LastSeen),
    (Column::FinishSeen, TaskField::FinishSeen),
    (Column::Sent, TaskField::SentTime),
    (Column::Received, TaskField::ReceivedTime),
    (Column::Started, TaskField::StartedTime),
];

impl Facts {
    /// Of a task.
    pub(super) fn new(app: &Symbol, task: &Task) -> Self {
        let flag = |field, bit| {
            if task.flag(field) == Some(true) {
                bit
            } else {
                0
            }
        };
        Self {
            app: Some(app.clone()),
            id: task.id.clone(),
            name: task.name.clone(),
            state: task.state.clone(),
            worker: task.worker.clone(),
            queue: task.queue.clone(),
            client: task.client.clone(),
            retries: task.retries,
            runtime: task.number(TaskField::Runtime),
            flags: flag(TaskField::Finished, FINISHED)
                | flag(TaskField::Lost, LOST)
                | flag(TaskField::OutcomeUnknown, OUTCOME_UNKNOWN),
            times: TIMES.map(|(_, field)| task.time(field)),
            root: task.root_id.as_ref().map_or(0, short),
            parent: task.parent_id.as_ref().map_or(0, short),
        }
    }

    /// Of a row that retention has deleted before its block was sealed.
    pub(super) fn vacant() -> Self {
        Self {
            app: None,
            id: TaskId::Uuid([0; 16]),
            name: None,
            state: TaskState::Pending,
            worker: None,
            queue: None,
            client: None,
            retries: None,
            runtime: None,
            flags: 0,
            times: [None; 6],
            root: 0,
            parent: 0,
        }
    }

    /// When it finished.
    pub(super) fn finish_seen(&self) -> Option<Micros> {
        self.times[2]
    }
}

/// Least and greatest of a column.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Range<T> {
    #[n(0)]
    pub(super) least: T,
    #[n(1)]
    pub(super) most: T,
    /// Rows that have a value.
    #[n(2)]
    pub(super) count: u32,
}

impl<T: Clone> Range<T> {
    /// Of values, with their order. `None` when there is none.
    fn of(
        values: impl Iterator<Item = Option<T>>,
        compare: impl Fn(&T, &T) -> Ordering,
    ) -> Option<Self> {
        values.flatten().fold(None, |range, value| {
            let Some(mut range) = range else {
                return Some(Self {
                    least: value.clone(),
                    most: value,
                    count: 1,
                });
            };
            range.count += 1;
            if compare(&value, &range.least).is_lt() {
                range.least = value;
            } else if compare(&value, &range.most).is_gt() {
                range.most = value;
            }
            Some(range)
        })
    }
}

/// A block as a whole: enough to pass over it.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Zone {
    /// Rows.
    #[n(0)]
    pub(super) rows: u32,
    /// Of `first_seen`, which every row has.
    #[n(1)]
    pub(super) first_seen: Range<Micros>,
    /// Of `last_seen`, which every row has.
    #[n(2)]
    pub(super) last_seen: Range<Micros>,
    /// Of `finish_seen`, which finished rows have.
    #[n(3)]
    pub(super) finish_seen: Range<Micros>,
    /// Of `runtime`. Blocks of older versions have neither this nor what follows.
    #[n(4)]
    pub(super) runtime: Option<Range<f64>>,
    /// Of `name`.
    #[n(5)]
    pub(super) name: Option<Range<Symbol>>,
    /// Of `state`.
    #[n(6)]
    pub(super) state: Option<Range<Symbol>>,
    /// Of `worker`.
    #[n(7)]
    pub(super) worker: Option<Range<Symbol>>,
}

impl Zone {
    /// Of these rows.
    pub(super) fn of(rows: &[Facts]) -> Self {
        let times = |index: usize| {
            let values = rows.iter().map(|facts| facts.times[index]);
            Range::of(values, Ord::cmp).unwrap_or_default()
        };
        let texts = |text: fn(&Facts) -> Option<&Symbol>| {
            let values = rows.iter().map(text);
            let range = Range::of(values, Ord::cmp);
            Some(range.map_or_else(no_text, |range| Range {
                least: range.least.clone(),
                most: range.most.clone(),
                count: range.count,
            }))
        };
        let states: Vec<Option<&str>> = rows
            .iter()
            .map(|facts| facts.app.as_ref().map(|_| facts.state.as_str()))
            .collect();
        let states = Range::of(states.into_iter(), Ord::cmp);
        let runtimes = rows.iter().map(|facts| facts.runtime);
        Self {
            rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            first_seen: times(0),
            last_seen: times(1),
            finish_seen: times(2),
            runtime: Some(Range::of(runtimes, f64::total_cmp).unwrap_or_default()),
            name: texts(|facts| facts.name.as_ref()),
            state: Some(states.map_or_else(no_text, |range| Range {
                least: range.least.into(),
                most: range.most.into(),
                count: range.count,
            })),
            worker: texts(|facts| facts.worker.as_ref()),
        }
    }

    /// Whether every row held a finished task when the block was sealed.
    pub(super) fn all_finished(&self) -> bool {
        self.finish_seen.count == self.rows
    }
}

fn no_text() -> Range<Symbol> {
    Range {
        least: Symbol::from(""),
        most: Symbol::from(""),
        count: 0,
    }
}

/// The columns of these rows, as stored.
pub(super) fn encode_columns(rows: &[Facts]) -> Vec<(Column, Vec<u8>)> {
    let mut texts = Dictionary::default();
    let mut codes = |text: fn(&Facts) -> Option<&str>| {
        let codes: Vec<u16> = rows.iter().map(|facts| texts.code(text(facts))).collect();
        encode_codes(&codes)
    };
    let mut columns = vec![
        (Column::App, codes(|facts| facts.app.as_deref())),
        (Column::Name, codes(|facts| facts.name.as_deref())),
        (Column::State, codes(|facts| Some(facts.state.as_str()))),
        (Column::Worker, codes(|facts| facts.worker.as_deref())),
        (Column::Queue, codes(|facts| facts.queue.as_deref())),
        (Column::Client, codes(|facts| facts.client.as_deref())),
        (
            Column::Retries,
            encode_integers(rows.iter().map(|facts| facts.retries)),
        ),
        (
            Column::Runtime,
            encode_numbers(rows.iter().map(|facts| facts.runtime)),
        ),
        (
            Column::Flags,
            encode_integers(rows.iter().map(|facts| Some(facts.flags))),
        ),
    ];
    for (index, (column, _)) in TIMES.iter().enumerate() {
        columns.push((
            *column,
            encode_integers(rows.iter().map(|facts| facts.times[index])),
        ));
    }
    columns.push((
        Column::Root,
        encode_shorts(rows.iter().map(|facts| facts.root)),
    ));
    columns.push((
        Column::Parent,
        encode_shorts(rows.iter().map(|facts| facts.parent)),
    ));
    columns.push((Column::Id, Ids::encode(rows.iter().map(|facts| &facts.id))));
    columns.push((Column::Dictionary, texts.encode()));
    columns
}

/// The texts of a block, each once; code 0 is "none", the first text 1.
#[derive(Default)]
struct Dictionary<'t> {
    codes: HashMap<&'t str, u16>,
    texts: Vec<&'t str>,
}

impl<'t> Dictionary<'t> {
    fn code(&mut self, text: Option<&'t str>) -> u16 {
        let Some(text) = text else { return 0 };
        let texts = &mut self.texts;
        *self.codes.entry(text).or_insert_with(|| {
            texts.push(text);
            u16::try_from(texts.len()).expect("six texts a row times 2,048 rows are below 2^16")
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in &self.texts {
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}

/// The texts of a block read back, by code; the first is "none".
pub(super) fn decode_dictionary(mut bytes: &[u8]) -> Option<Vec<Option<Symbol>>> {
    let mut texts = vec![None];
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        texts.push(Some(Symbol::from(std::str::from_utf8(text).ok()?)));
        bytes = rest;
    }
    Some(texts)
}
