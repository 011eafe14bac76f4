//! The engine: the only writer of state and history. One thread of its own takes inputs, folds, commits, then tells.
//!
//! What an inspector sent is acknowledged only after the commit that holds all it changed. While a commit waits for the
//! disk, inputs gather; the next commit takes them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::time::now;
use crate::history::{self, HistoryError, Recovered, Retention};
use crate::state::input::Input;
use crate::state::{Changes, Limits, Micros, Symbol, Task, TaskId};

pub mod board;
pub mod changelog;
pub mod command;
mod commit;
mod handle;
pub mod order;
mod repair;
mod session;
mod succession;

use board::{AppBoard, BoardReader, BoardWriter};
use command::{Commands, NewCommand};
pub use handle::{Attachment, Batch, EngineHandle, EngineStopped};
pub use session::{Closed, Hello, NoPlace, Role, SessionState};
use session::{Sessions, Verdict};

/// Batches that wait for the engine. Each holds at most 1,000 events or about a MiB, so at most about 64 MiB wait; then
/// inspectors wait, and their own buffers count what they cannot keep.
const WAKES_MAX: usize = 64;
/// Inputs folded before a commit, so that the first of them does not wait long for its ack.
const COMMIT_INPUTS_MAX: usize = 8_192;
/// Time passes for the fold once a second: silence and retention are counted in seconds.
const TICK: Duration = Duration::from_secs(1);
/// Pause before the disk is tried again.
const DISK_RETRY: Duration = Duration::from_millis(500);

/// Everything that can wake the engine.
enum Wake {
    Attach(Hello, oneshot::Sender<Attachment>),
    Batch { session: u64, batch: Batch },
    Command(Box<NewCommand>, command::Answer),
    Follows { app: String, queues: Vec<String> },
    Tick,
    Stop,
}

/// The engine could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineFailed {
    /// What is on disk cannot be read or written.
    #[error("history cannot be read or written")]
    History(#[source] HistoryError),
    /// No thread.
    #[error("the engine's thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// It panicked.
    #[error("the engine's thread panicked; see the log")]
    Panicked,
}

/// The running engine.
pub struct Running {
    wakes: mpsc::Sender<Wake>,
    thread: std::thread::JoinHandle<Result<(), HistoryError>>,
    clock: tokio::task::JoinHandle<()>,
    quit: Arc<AtomicBool>,
}

impl Running {
    /// Ends the engine after what it was given is committed.
    ///
    /// # Errors
    /// The last commit failed, or the engine had failed before.
    pub async fn stop(self) -> Result<(), EngineFailed> {
        self.clock.abort();
        self.quit.store(true, Ordering::Relaxed);
        // It may have ended by itself already, or wait for a disk that fails; then the flag ends it and the join tells.
        let _told = tokio::time::timeout(DISK_RETRY, self.wakes.send(Wake::Stop)).await;
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        match joined {
            Ok(Ok(ended)) => ended.map_err(EngineFailed::History),
            Ok(Err(_)) | Err(_) => Err(EngineFailed::Panicked),
        }
    }
}

/// The engine.
pub struct Engine {
    board: BoardWriter,
    history: history::Writer,
    limits: Limits,
    retention: Retention,
    sessions: Sessions,
    commands: Commands,
    /// What is folded and not yet on disk, by app.
    pending: HashMap<Symbol, Changes, ahash::RandomState>,
    pending_inputs: usize,
    /// When anything of an app last came, for the gap that a detached inspector leaves.
    last_seen: HashMap<Symbol, Micros, ahash::RandomState>,
    /// Set when the program ends: a disk that fails is no longer waited for.
    quit: Arc<AtomicBool>,
}

impl Engine {
    /// Recovers what is on disk and starts the engine's thread.
    ///
    /// # Errors
    /// What is on disk cannot be read, or no thread can be had.
    pub fn start(
        history: history::Writer,
        limits: Limits,
        retention: Retention,
    ) -> Result<(Running, EngineHandle, BoardReader), EngineFailed> {
        let (engine, reader, told) =
            Self::recovered(history, limits, retention).map_err(EngineFailed::History)?;
        let quit = Arc::clone(&engine.quit);
        let (sender, wakes) = mpsc::channel(WAKES_MAX);
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || engine.run(wakes))
            .map_err(EngineFailed::Thread)?;
        let clock = tokio::spawn(clock(sender.clone()));
        let running = Running {
            wakes: sender.clone(),
            thread,
            clock,
            quit,
        };
        let handle = EngineHandle {
            wakes: sender,
            told,
        };
        Ok((running, handle, reader))
    }

    /// Recovers what is on disk; nothing runs yet.
    ///
    /// # Errors
    /// What is on disk cannot be read.
    pub fn open(
        history: history::Writer,
        limits: Limits,
        retention: Retention,
    ) -> Result<(Self, BoardReader), HistoryError> {
        let (engine, reader, _told) = Self::recovered(history, limits, retention)?;
        Ok((engine, reader))
    }

    fn recovered(
        mut history: history::Writer,
        limits: Limits,
        retention: Retention,
    ) -> Result<(Self, BoardReader, watch::Receiver<u64>), HistoryError> {
        let recovered = history.recover()?;
        let epoch = u64::try_from(now()).unwrap_or_default();
        let (board, reader) = board::split(epoch);
        let (commands, told) = Commands::new();
        let mut engine = Self {
            board,
            history,
            limits,
            retention,
            sessions: Sessions::default(),
            commands,
            pending: HashMap::default(),
            pending_inputs: 0,
            last_seen: HashMap::default(),
            quit: Arc::new(AtomicBool::new(false)),
        };
        engine.restore(recovered);
        Ok((engine, reader, told))
    }

    fn restore(&mut self, recovered: Recovered) {
        for app in recovered.apps {
            let name = app.name;
            let mut board = AppBoard::new(name.clone(), self.limits);
            let state = &mut board.state;
            let mut last_seen = None;
            for task in app.unfinished {
                last_seen = last_seen.max(Some(task.last_seen));
                state.restore_task(task);
            }
            for worker in app.workers {
                last_seen = last_seen.max(Some(worker.last_seen));
                state.restore_worker(worker);
            }
            app.task_names
                .into_iter()
                .for_each(|task_name| state.restore_task_name(task_name));
            app.gaps.into_iter().for_each(|gap| state.restore_gap(gap));
            state.restore_told(app.told);
            for position in app.positions {
                let history::IngestPosition {
                    instance,
                    epoch,
                    sequence,
                } = position;
                self.sessions.restore(&name, &instance, epoch, sequence);
            }
            if let Some(Ok(events)) = app.counters.as_deref().map(<[u8; 8]>::try_from) {
                state.restore_events_folded(u64::from_be_bytes(events));
            }
            self.last_seen
                .extend(last_seen.map(|seen| (name.clone(), seen)));
            self.board.write().apps.insert(name, board);
        }
    }

    fn run(mut self, mut wakes: mpsc::Receiver<Wake>) -> Result<(), HistoryError> {
        while let Some(wake) = wakes.blocking_recv() {
            let mut next = Some(wake);
            let mut stop = false;
            while let Some(wake) = next {
                stop |= self.wake(wake)?;
                let room = !stop && self.pending_inputs < COMMIT_INPUTS_MAX;
                next = room.then(|| wakes.try_recv().ok()).flatten();
            }
            self.commit_or_wait()?;
            if let Err(error) = self.shorten_journal() {
                self.disk_fails(&error);
            }
            if stop {
                break;
            }
        }
        self.history.close()
    }

    /// Commits; while the disk fails, waits. Nothing is acknowledged and nothing forgotten meanwhile: the queue of inputs
    /// fills, and inspectors wait. Gives up only when the program ends.
    fn commit_or_wait(&mut self) -> Result<(), HistoryError> {
        while let Err(error) = self.commit() {
            if self.quit.load(Ordering::Relaxed) {
                return Err(error);
            }
            self.disk_fails(&error);
        }
        Ok(())
    }

    /// Does what one wake asks for; says whether it was the last.
    fn wake(&mut self, wake: Wake) -> Result<bool, HistoryError> {
        match wake {
            Wake::Attach(hello, reply) => self.attach(&hello, reply),
            Wake::Batch { session, batch } => self.batch(session, batch),
            Wake::Command(new, caller) => self.command(*new, caller),
            Wake::Follows { app, queues } => self.follow(&app, queues),
            Wake::Tick => self.tick(now())?,
            Wake::Stop => return Ok(true),
        }
        Ok(false)
    }

    fn batch(&mut self, session: u64, batch: Batch) {
        let Batch {
            sequence,
            inputs,
            commands,
        } = batch;
        match self.sessions.batch(session, sequence) {
            Verdict::Fold(app) => {
                let app = Symbol::from(app.as_str());
                let now = now();
                if let Some(seen) = newest(&inputs) {
                    let known = self.last_seen.entry(app.clone()).or_insert(seen);
                    *known = seen.max(*known);
                }
                self.reported(&app, commands);
                self.fold(&app, now, inputs);
            }
            // Its ack follows the next commit; a session that was refused has been told why.
            Verdict::Repeat | Verdict::Refused => {}
        }
    }

    /// Folds what came of an app. It is on disk after the next [`Engine::commit`].
    pub fn fold(&mut self, app: &Symbol, now: Micros, inputs: Vec<Input>) {
        self.pending_inputs += inputs.len();
        let loaded = self.load(app, &inputs);
        let changes = self.pending.entry(app.clone()).or_default();
        let mut board = self.board.write();
        let limits = self.limits;
        let entry = board.apps.entry(app.clone());
        let entry = entry.or_insert_with(|| AppBoard::new(app.clone(), limits));
        for task in loaded {
            entry.state.restore_task(task);
        }
        for input in inputs {
            entry.state.apply(now, input, changes);
        }
    }

    /// Reads the tasks of these inputs that are in history only, so that an event meets all that is known of its task.
    fn load(&mut self, app: &Symbol, inputs: &[Input]) -> Vec<Task> {
        let mut missing: HashSet<TaskId, ahash::RandomState> = HashSet::default();
        {
            let board = self.board.read();
            let Some(entry) = board.apps.get(app) else {
                return Vec::new();
            };
            for input in inputs {
                match input {
                    // Nearly all, and each is about one task.
                    Input::Task(event) if entry.state.holds(&event.id) => {}
                    _ => missing.extend(entry.state.missing(input).cloned()),
                }
            }
        }
        let mut loaded = Vec::new();
        for id in missing {
            loop {
                match self.history.load_task(app, &id) {
                    Ok(task) => break loaded.extend(task),
                    // To go on without it would replace what is known of the task. Inspectors wait meanwhile.
                    Err(error) if self.quit.load(Ordering::Relaxed) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "history cannot be read"
                        );
                        // The commit meets the same fault, and nothing of this is acknowledged.
                        break;
                    }
                    Err(error) => self.disk_fails(&error),
                }
            }
        }
        loaded
    }

    /// Says that the disk fails, and waits a little.
    fn disk_fails(&mut self, error: &HistoryError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "history cannot be used; trying again"
        );
        self.board.write().commit_error = Some(error.to_string());
        std::thread::sleep(DISK_RETRY);
    }

    /// Lets time pass. As tasks leave memory by it, all of them are in history before; and after, since the next event of
    /// one that left asks history for it.
    ///
    /// # Errors
    /// The disk fails, and the program ends.
    pub fn tick(&mut self, now: Micros) -> Result<(), HistoryError> {
        self.release_sessions();
        self.commit_or_wait()?;
        {
            let mut board = self.board.write();
            for (name, app) in &mut board.apps {
                let changes = self.pending.entry(name.clone()).or_default();
                app.state.apply(now, Input::Tick, changes);
            }
        }
        self.pending_inputs += 1;
        self.commit_or_wait()?;
        self.look_up(now);
        if let Err(error) = self.sweep(now) {
            self.disk_fails(&error);
        }
        Ok(())
    }
}

/// Until when these inputs show that nothing of the app was missed; `None` when they do not.
fn newest(inputs: &[Input]) -> Option<Micros> {
    let seen = |input: &Input| match input {
        Input::Task(event) => Some(event.received),
        Input::Worker(event) => Some(event.received),
        Input::Report(report) if report.subscribed => Some(report.time),
        _ => None,
    };
    inputs.iter().filter_map(seen).max()
}

async fn clock(wakes: mpsc::Sender<Wake>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if wakes.send(Wake::Tick).await.is_err() {
            return;
        }
    }
}
