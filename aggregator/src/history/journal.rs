//! What one commit changed besides rows of tasks: records one after another, each an array of a number and its fields.

use minicbor::{Decoder, Encode, Encoder};

use super::encode::encode;
use super::error::HistoryError;

/// One change. What is encoded stays encoded until someone wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record<'b> {
    /// An unfinished task is in memory, as it is now.
    Unfinished {
        app: i64,
        key: &'b [u8],
        task: &'b [u8],
    },
    /// A task is no longer among the unfinished ones in memory.
    Gone { app: i64, key: &'b [u8] },
    /// A worker as it is now.
    Worker {
        app: i64,
        name: &'b str,
        worker: &'b [u8],
    },
    /// A worker's answers as they are now.
    Inspection {
        app: i64,
        name: &'b str,
        inspection: &'b [u8],
    },
    /// A worker left.
    WorkerGone { app: i64, name: &'b str },
    /// Statistics of a task name as they are now.
    TaskName {
        app: i64,
        name: &'b str,
        task_name: &'b [u8],
    },
    /// A gap as it is now.
    Gap { app: i64, gap: &'b [u8] },
    /// The app's counters as they are now.
    Counters { app: i64, counters: &'b [u8] },
    /// The last batch taken in from an inspector.
    Position {
        app: i64,
        instance: &'b str,
        epoch: i64,
        sequence: u64,
    },
    /// Identities of events that were folded, in that order, 8 bytes each.
    Told { app: i64, identities: &'b [u8] },
}

/// Records in the making. Encoding into memory cannot fail, so there is nothing to report.
#[derive(Debug, Default)]
pub(super) struct Journal {
    bytes: Vec<u8>,
    /// For values that are encoded before they are put into a record.
    value: Vec<u8>,
}

const MEMORY: &str = "writing CBOR to memory cannot fail";

impl Journal {
    /// What was recorded.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets everything, keeps the room.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The value encoded, for a record. To be given back, for the room.
    pub(super) fn encode<T: Encode<()>>(&mut self, value: &T) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.value);
        buffer.clear();
        encode(value, &mut buffer);
        buffer
    }

    /// Identities as they are stored, for a record. To be given back, for the room.
    pub(super) fn encode_told(&mut self, identities: &[u64]) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.value);
        buffer.clear();
        let bytes = identities.iter().flat_map(|one| one.to_le_bytes());
        buffer.extend(bytes);
        buffer
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        self.value = buffer;
    }

    /// Records a change.
    pub(super) fn push(&mut self, record: &Record<'_>) {
        let mut to = Encoder::new(&mut self.bytes);
        let written = match *record {
            Record::Unfinished { app, key, task } => {
                head(&mut to, 4, 0, app).and_then(|to| to.bytes(key)?.bytes(task))
            }
            Record::Gone { app, key } => head(&mut to, 3, 1, app).and_then(|to| to.bytes(key)),
            Record::Worker { app, name, worker } => {
                head(&mut to, 4, 2, app).and_then(|to| to.str(name)?.bytes(worker))
            }
            Record::Inspection {
                app,
                name,
                inspection,
            } => head(&mut to, 4, 8, app).and_then(|to| to.str(name)?.bytes(inspection)),
            Record::WorkerGone { app, name } => {
                head(&mut to, 3, 3, app).and_then(|to| to.str(name))
            }
            Record::TaskName {
                app,
                name,
                task_name,
            } => head(&mut to, 4, 4, app).and_then(|to| to.str(name)?.bytes(task_name)),
            Record::Gap { app, gap } => head(&mut to, 3, 5, app).and_then(|to| to.bytes(gap)),
            Record::Counters { app, counters } => {
                head(&mut to, 3, 6, app).and_then(|to| to.bytes(counters))
            }
            Record::Position {
                app,
                instance,
                epoch,
                sequence,
            } => {
                head(&mut to, 5, 7, app).and_then(|to| to.str(instance)?.i64(epoch)?.u64(sequence))
            }
            Record::Told { app, identities } => {
                head(&mut to, 3, 9, app).and_then(|to| to.bytes(identities))
            }
        };
        written.map(drop).expect(MEMORY);
    }
}

type Written<'e, 'v> =
    Result<&'e mut Encoder<&'v mut Vec<u8>>, minicbor::encode::Error<std::convert::Infallible>>;

fn head<'e, 'v>(
    to: &'e mut Encoder<&'v mut Vec<u8>>,
    fields: u64,
    kind: u8,
    app: i64,
) -> Written<'e, 'v> {
    to.array(fields)?.u8(kind)?.i64(app)
}

/// Reads records back, in the order in which they were pushed.
pub(super) fn read<'b>(
    bytes: &'b [u8],
    mut each: impl FnMut(Record<'b>) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let mut from = Decoder::new(bytes);
    while from.position() < bytes.len() {
        let record = record(&mut from).map_err(|_| HistoryError::damaged("the journal"))?;
        each(record)?;
    }
    Ok(())
}

fn record<'b>(from: &mut Decoder<'b>) -> Result<Record<'b>, minicbor::decode::Error> {
    from.array()?;
    let (kind, app) = (from.u8()?, from.i64()?);
    Ok(match kind {
        0 => Record::Unfinished {
            app,
            key: from.bytes()?,
            task: from.bytes()?,
        },
        1 => Record::Gone {
            app,
            key: from.bytes()?,
        },
        2 => Record::Worker {
            app,
            name: from.str()?,
            worker: from.bytes()?,
        },
        8 => Record::Inspection {
            app,
            name: from.str()?,
            inspection: from.bytes()?,
        },
        3 => Record::WorkerGone {
            app,
            name: from.str()?,
        },
        4 => Record::TaskName {
            app,
            name: from.str()?,
            task_name: from.bytes()?,
        },
        5 => Record::Gap {
            app,
            gap: from.bytes()?,
        },
        6 => Record::Counters {
            app,
            counters: from.bytes()?,
        },
        7 => Record::Position {
            app,
            instance: from.str()?,
            epoch: from.i64()?,
            sequence: from.u64()?,
        },
        9 => Record::Told {
            app,
            identities: from.bytes()?,
        },
        _ => return Err(minicbor::decode::Error::message("an unknown record")),
    })
}
