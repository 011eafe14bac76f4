//! What a restart finds: base tables, and the journal replayed over them in order.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use rusqlite::Connection;

use super::checkpoint::{cause_number, journal_extent};
use super::error::HistoryError;
use super::identity::Identity;
use super::journal::{Record, read};
use super::told;
use super::writer::{Unfinished, Writer, decode_task, read_apps};
use crate::state::limits::GAPS_KEPT;
use crate::state::worker::Inspection;
use crate::state::{Gap, Symbol, Task, TaskName, Worker};

/// Everything that was in memory, as of the last commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// Every app there ever was, by name.
    pub apps: Vec<RecoveredApp>,
}

/// What was in memory of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveredApp {
    /// Its name.
    pub name: Symbol,
    /// Unfinished tasks, the first seen first. Those that memory had no room for are not among them; they are rows.
    pub unfinished: Vec<Task>,
    /// Workers, by name.
    pub workers: Vec<Worker>,
    /// Statistics, by task name.
    pub task_names: Vec<TaskName>,
    /// Gaps, the oldest first.
    pub gaps: Vec<Gap>,
    /// Counters, as their owner encoded them.
    pub counters: Option<Vec<u8>>,
    /// The last batch taken in from each inspector, by instance.
    pub positions: Vec<IngestPosition>,
    /// Identities of the last events that were folded, in that order.
    pub told: Vec<u64>,
}

/// The last batch taken in from an inspector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestPosition {
    /// The inspector's instance name.
    pub instance: String,
    /// Which life of it.
    pub epoch: i64,
    /// The batch.
    pub sequence: u64,
}

#[derive(Default)]
struct Parts {
    unfinished: HashMap<Identity, Task>,
    workers: BTreeMap<String, Worker>,
    inspections: BTreeMap<String, Inspection>,
    task_names: BTreeMap<String, TaskName>,
    gaps: BTreeMap<(i64, i64, String), Gap>,
    counters: Option<Vec<u8>>,
    positions: BTreeMap<String, (i64, u64)>,
    told: Vec<u64>,
}

impl Writer {
    /// Reads what was in memory at the last commit. To be called once, before the first commit.
    ///
    /// # Errors
    /// The database cannot be read, or does not hold what it should.
    pub fn recover(&mut self) -> Result<Recovered, HistoryError> {
        let seed = self.meta.seed;
        let mut unfinished = Unfinished {
            known: true,
            ..Unfinished::default()
        };
        (unfinished.journal_bytes, unfinished.next_seq) = journal_extent(&self.connection)?;
        let mut apps: BTreeMap<i64, Parts> = self
            .apps
            .values()
            .map(|app| (*app, Parts::default()))
            .collect();
        read_unfinished(&self.connection, &mut |row, app, task| {
            let identity = Identity::new(seed, app, &task.id);
            unfinished.based.insert(identity, row);
            unfinished.next_row = unfinished.next_row.max(row + 1);
            part(&mut apps, app)?.unfinished.insert(identity, task);
            Ok(())
        })?;
        read_base(&self.connection, &mut apps)?;
        let mut statement = self
            .connection
            .prepare("SELECT seq, data FROM journal ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            let data = row
                .get_ref(1)?
                .as_blob()
                .map_err(|_| HistoryError::damaged("the journal"))?;
            read(data, |record| {
                if let Record::Unfinished { app, key, .. } | Record::Gone { app, key } = record {
                    unfinished
                        .journaled
                        .insert(Identity::of_key(seed, app, key), seq);
                }
                replay(seed, &mut apps, &record)
            })?;
        }
        drop(rows);
        drop(statement);
        self.unfinished = unfinished;
        Ok(gathered(&read_apps(&self.connection)?, apps))
    }
}

fn part(apps: &mut BTreeMap<i64, Parts>, app: i64) -> Result<&mut Parts, HistoryError> {
    apps.get_mut(&app)
        .ok_or_else(|| HistoryError::damaged("an app"))
}

fn replay(
    seed: u64,
    apps: &mut BTreeMap<i64, Parts>,
    record: &Record<'_>,
) -> Result<(), HistoryError> {
    match *record {
        Record::Unfinished { app, key, task } => {
            let identity = Identity::of_key(seed, app, key);
            part(apps, app)?
                .unfinished
                .insert(identity, decode_task(task)?);
        }
        Record::Gone { app, key } => {
            part(apps, app)?
                .unfinished
                .remove(&Identity::of_key(seed, app, key));
        }
        Record::Worker { app, name, worker } => {
            part(apps, app)?
                .workers
                .insert(name.to_owned(), decode(worker, "a worker")?);
        }
        Record::Inspection {
            app,
            name,
            inspection,
        } => {
            part(apps, app)?
                .inspections
                .insert(name.to_owned(), decode(inspection, "a worker's answers")?);
        }
        Record::WorkerGone { app, name } => {
            let part = part(apps, app)?;
            part.workers.remove(name);
            part.inspections.remove(name);
        }
        Record::TaskName {
            app,
            name,
            task_name,
        } => {
            part(apps, app)?
                .task_names
                .insert(name.to_owned(), decode(task_name, "a task name")?);
        }
        Record::Gap { app, gap } => part(apps, app)?.put_gap(decode(gap, "a gap")?),
        Record::Counters { app, counters } => {
            part(apps, app)?.counters = Some(counters.to_vec());
        }
        Record::Position {
            app,
            instance,
            epoch,
            sequence,
        } => {
            part(apps, app)?
                .positions
                .insert(instance.to_owned(), (epoch, sequence));
        }
        Record::Told { app, identities } => {
            told::append(&mut part(apps, app)?.told, identities)?;
        }
    }
    Ok(())
}

fn decode<'b, T: minicbor::Decode<'b, ()>>(
    bytes: &'b [u8],
    what: &'static str,
) -> Result<T, HistoryError> {
    minicbor::decode(bytes).map_err(|_| HistoryError::damaged(what))
}

impl Parts {
    fn put_gap(&mut self, gap: Gap) {
        let worker = gap.worker.as_deref().unwrap_or("").to_owned();
        self.gaps
            .insert((gap.start, cause_number(gap.cause), worker), gap);
    }
}

fn read_unfinished(
    connection: &Connection,
    each: &mut dyn FnMut(i64, i64, Task) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let mut statement = connection.prepare("SELECT row, app, data FROM unfinished ORDER BY row")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let data = row
            .get_ref(2)?
            .as_blob()
            .map_err(|_| HistoryError::damaged("a task"))?;
        each(row.get(0)?, row.get(1)?, decode_task(data)?)?;
    }
    Ok(())
}

/// Puts a base row, by its name and data, into its place.
type Keep = dyn FnMut(&mut Parts, String, &[u8]) -> Result<(), HistoryError>;

fn read_base(connection: &Connection, apps: &mut BTreeMap<i64, Parts>) -> Result<(), HistoryError> {
    let mut each = |sql, keep: &mut Keep| {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let data = row
                .get_ref(2)?
                .as_blob()
                .map_err(|_| HistoryError::damaged("a table"))?;
            keep(part(apps, row.get(0)?)?, row.get(1)?, data)?;
        }
        Ok::<(), HistoryError>(())
    };
    each(
        "SELECT app, name, data FROM worker",
        &mut |part, name, data| {
            part.workers.insert(name, decode(data, "a worker")?);
            Ok(())
        },
    )?;
    each(
        "SELECT app, name, data FROM inspection",
        &mut |part, name, data| {
            part.inspections
                .insert(name, decode(data, "a worker's answers")?);
            Ok(())
        },
    )?;
    each(
        "SELECT app, name, data FROM task_name",
        &mut |part, name, data| {
            part.task_names.insert(name, decode(data, "a task name")?);
            Ok(())
        },
    )?;
    each("SELECT app, worker, data FROM gap", &mut |part, _, data| {
        part.put_gap(decode(data, "a gap")?);
        Ok(())
    })?;
    each(
        "SELECT id, name, counters FROM app WHERE counters IS NOT NULL",
        &mut |part, _, data| {
            part.counters = Some(data.to_vec());
            Ok(())
        },
    )?;
    told::read(connection, |app, identities| {
        told::append(&mut part(apps, app)?.told, identities)
    })?;
    let mut statement =
        connection.prepare("SELECT app, instance, epoch, sequence FROM position")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sequence: i64 = row.get(3)?;
        let position = (row.get(2)?, sequence.cast_unsigned());
        part(apps, row.get(0)?)?
            .positions
            .insert(row.get(1)?, position);
    }
    Ok(())
}

fn gathered(names: &HashMap<Symbol, i64>, mut parts: BTreeMap<i64, Parts>) -> Recovered {
    let mut apps: Vec<RecoveredApp> = names
        .iter()
        .map(|(name, app)| gathered_app(name.clone(), parts.remove(app).unwrap_or_default()))
        .collect();
    apps.sort_by(|left, right| left.name.cmp(&right.name));
    Recovered { apps }
}

fn gathered_app(name: Symbol, parts: Parts) -> RecoveredApp {
    let Parts {
        unfinished,
        mut workers,
        inspections,
        task_names,
        gaps,
        counters,
        positions,
        mut told,
    } = parts;
    told::keep_last(&mut told);
    for (name, inspection) in inspections {
        if let Some(worker) = workers.get_mut(&name) {
            worker.inspection = Some(Box::new(inspection));
        }
    }
    let mut unfinished: Vec<Task> = unfinished.into_values().collect();
    unfinished
        .sort_by(|left, right| (left.first_seen, &left.id).cmp(&(right.first_seen, &right.id)));
    let surplus = gaps.len().saturating_sub(GAPS_KEPT);
    RecoveredApp {
        name,
        unfinished,
        workers: workers.into_values().collect(),
        task_names: task_names.into_values().collect(),
        gaps: gaps.into_values().skip(surplus).collect(),
        counters,
        positions: positions
            .into_iter()
            .map(|(instance, (epoch, sequence))| IngestPosition {
                instance,
                epoch,
                sequence,
            })
            .collect(),
        told,
    }
}
