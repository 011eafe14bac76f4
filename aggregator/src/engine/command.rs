//! Commands in the engine: on disk first, then handed to the inspector; and what it tells of them.

use tokio::sync::{mpsc, oneshot, watch};

use super::Engine;
use super::order::{CommandOrder, Order};
use super::session::NoPlace;
use crate::api::time::now;
use crate::command::{Publication, Record, Report};
use crate::history::{Commit, HistoryError};
use crate::state::Symbol;
use crate::state::input::{Input, Wish};

/// A command to record and to send.
#[derive(Debug)]
pub struct NewCommand {
    /// The app it is for.
    pub app: String,
    /// What is recorded.
    pub record: Record,
    /// What the inspector gets.
    pub order: CommandOrder,
}

/// What became of a command that was to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is recorded and was handed to the inspector.
    New,
    /// It had been recorded before, and was not sent again.
    Before,
}

/// Why a command was not recorded; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// Its request id is another command's.
    #[error("another command was recorded under this request id")]
    Taken,
    /// Nobody could publish it.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// Whether it was recorded before cannot be seen.
    #[error("the recorded commands cannot be read")]
    History(#[source] HistoryError),
    /// The engine has ended.
    #[error("the aggregator is shutting down")]
    Stopped,
}

/// Who waits for a command to be recorded.
pub(super) type Answer = oneshot::Sender<Result<Accepted, NotRecorded>>;

/// Commands and reports that the next commit brings to disk.
pub(super) struct Commands {
    new: Vec<Waiting>,
    reports: Vec<(Symbol, Report)>,
    /// Counts commits that held any.
    told: watch::Sender<u64>,
}

/// A command that is not on disk yet, with its place in the inspector's queue.
struct Waiting {
    app: Symbol,
    record: Record,
    order: CommandOrder,
    place: mpsc::OwnedPermit<Order>,
    callers: Vec<(Accepted, Answer)>,
    /// What it says about queues is folded.
    folded: bool,
}

impl Commands {
    pub(super) fn new() -> (Self, watch::Receiver<u64>) {
        let (told, revision) = watch::channel(0);
        let commands = Self {
            new: Vec::new(),
            reports: Vec::new(),
            told,
        };
        (commands, revision)
    }

    /// Takes in what an inspector tells.
    fn report(&mut self, app: &Symbol, reports: Vec<Report>) {
        self.reports
            .extend(reports.into_iter().map(|report| (app.clone(), report)));
    }

    /// Lets go of commands whose callers have all gone away while the disk was waited for: nobody was told that they would
    /// be sent. What is to be folded of that, and of those that stay: what a command says about queues comes to disk with it.
    fn wishes(&mut self) -> Vec<(Symbol, Wish)> {
        let mut wishes = Vec::new();
        self.new.retain_mut(|waiting| {
            let mut callers = waiting.callers.iter();
            let stays = callers.any(|(_, caller)| !caller.is_closed());
            // Of the one that was folded and goes, it is taken back.
            if stays != waiting.folded {
                let wish = waiting.record.wish(stays);
                wishes.extend(wish.map(|wish| (waiting.app.clone(), wish)));
            }
            waiting.folded = stays;
            stays
        });
        wishes
    }

    /// Writes everything to the commit.
    pub(super) fn stage(&self, commit: &mut Commit<'_>) -> Result<(), HistoryError> {
        for waiting in &self.new {
            commit.put_command(&waiting.app, &waiting.record)?;
        }
        for (app, report) in &self.reports {
            if !commit.put_command_report(app, report)? {
                tracing::warn!(app = %app, request_id = report.request_id, "a report of a command that is not known");
            }
        }
        Ok(())
    }

    /// Everything is on disk: hands the new ones to their inspectors and tells all who wait.
    pub(super) fn committed(&mut self) {
        if self.new.is_empty() && self.reports.is_empty() {
            return;
        }
        self.reports.clear();
        for waiting in self.new.drain(..) {
            let Record {
                request_id,
                method,
                principal,
                reason,
                all_workers,
                workers,
                ..
            } = &waiting.record;
            tracing::info!(
                app = %waiting.app, %request_id, %method, %principal, %reason, all_workers, workers = workers.len(),
                "a command was recorded and is sent"
            );
            waiting.place.send(Order::Command(waiting.order));
            for (accepted, caller) in waiting.callers {
                // One that has gone finds the record when it asks again.
                let _gone = caller.send(Ok(accepted));
            }
        }
        self.told.send_modify(|revision| *revision += 1);
    }
}

impl Engine {
    /// Folds what commands that wait for the next commit say about queues.
    pub(super) fn fold_wishes(&mut self) {
        for (app, wish) in self.commands.wishes() {
            self.fold(&app, now(), vec![Input::Wish(wish)]);
        }
    }

    /// Takes in what an inspector tells of commands. One that did not go out says nothing about queues after all.
    pub(super) fn reported(&mut self, app: &Symbol, reports: Vec<Report>) {
        for report in &reports {
            if !matches!(report.publication, Some(Publication::NotPublished { .. })) {
                continue;
            }
            match self.history.command(app, &report.request_id) {
                Ok(record) => {
                    let wish = record.and_then(|record| record.wish(false));
                    if let Some(wish) = wish {
                        self.fold(app, now(), vec![Input::Wish(wish)]);
                    }
                }
                // Then a queue counts as cancelled that is not: nobody gives it back who should not.
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a command that was not published cannot be read"
                ),
            }
        }
        self.commands.report(app, reports);
    }

    /// Prepares a command for the next commit, unless it was recorded before or cannot be published.
    pub(super) fn command(&mut self, new: NewCommand, caller: Answer) {
        let NewCommand { app, record, order } = new;
        let app = Symbol::from(app.as_str());
        let same_id = |waiting: &&mut Waiting| {
            waiting.app == app && waiting.record.request_id == record.request_id
        };
        if let Some(waiting) = self.commands.new.iter_mut().find(same_id) {
            if waiting.record.same_body(&record) {
                waiting.callers.push((Accepted::Before, caller));
            } else {
                let _gone = caller.send(Err(NotRecorded::Taken));
            }
            return;
        }
        let outcome = match self.history.command(&app, &record.request_id) {
            Ok(Some(before)) if before.same_body(&record) => Ok(None),
            Ok(Some(_)) => Err(NotRecorded::Taken),
            Ok(None) => self.sessions.place(&app).map(Some).map_err(Into::into),
            Err(error) => Err(NotRecorded::History(error)),
        };
        match outcome {
            Ok(Some(place)) => {
                self.pending_inputs += 1;
                self.commands.new.push(Waiting {
                    app,
                    record,
                    order,
                    place,
                    callers: vec![(Accepted::New, caller)],
                    folded: false,
                });
            }
            Ok(None) => {
                let _gone = caller.send(Ok(Accepted::Before));
            }
            Err(refused) => {
                let _gone = caller.send(Err(refused));
            }
        }
    }
}
