//! Gaps: those that inspectors tell of, the starts that were missed in each, and those that only heartbeats show.

use super::app::{App, Watched};
use super::changes::Changes;
use super::gap::{Gap, GapCause};
use super::ids::{Micros, Symbol};
use super::ledger::{Finding, Missed};
use super::limits::GAPS_KEPT;
use super::units::{micros, seconds_of};
use super::worker::{EventsMode, Inspection};

/// Heartbeats in a row that have to show an unexplained difference before it counts, in a pool that accepts tasks beside
/// the thread that sends heartbeats: between counting a start and telling of it such a worker acknowledges the message,
/// and a heartbeat may fall in between. That many do not by chance.
const CONCURRENT_PATIENCE: u32 = 8;
/// Heartbeats in a row after which a difference counts although no task event has come since.
const UNTOLD_PATIENCE: u32 = 5;
/// An unexplained gap goes on when more is missed within this time of its end: tasks that send no events would make one
/// with each heartbeat.
const UNEXPLAINED_WITHIN: std::time::Duration = std::time::Duration::from_mins(5);
/// For how long an unexplained gap goes on before it is called constant.
const CONSTANT_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

impl App {
    pub(super) fn fold_gap(&mut self, gap: Gap, changes: &mut Changes) {
        let watched = self.workers.values_mut();
        for watched in watched.filter(|one| {
            gap.worker
                .as_ref()
                .is_none_or(|name| one.worker.name == *name)
        }) {
            watched.quiet = false;
        }
        let (cause, start, end) = (gap.cause, gap.start, gap.end);
        let whole = gap.worker.is_none();
        self.tell_gap(gap, changes);
        // What was counted of its workers while it was open has the same end.
        if whole && end.is_some() {
            self.end_gaps(changes, end, |known| {
                known.cause == cause && known.start == start
            });
            self.doubt(end, changes);
        }
    }

    /// Ends what is open and fits.
    fn end_gaps(
        &mut self,
        changes: &mut Changes,
        end: Option<Micros>,
        fits: impl Fn(&Gap) -> bool,
    ) {
        let open = |gap: &&mut Gap| gap.end.is_none() && fits(gap);
        for gap in self.gaps.iter_mut().filter(open) {
            gap.end = end.max(Some(gap.start));
            changes.gaps.push(gap.clone());
            changes.app = true;
        }
    }

    /// Events flow again: what lasted because nobody listened is over.
    pub(super) fn end_detached(&mut self, at: Micros, changes: &mut Changes) {
        let open = |gap: &Gap| gap.cause == GapCause::Detached && gap.end.is_none();
        if self.gaps.iter().any(open) {
            self.end_gaps(changes, Some(at), |gap| gap.cause == GapCause::Detached);
            self.doubt(Some(at), changes);
        }
    }

    /// The broker has kept the events of the time in which nobody listened, and delivers them now: none was missed.
    pub(super) fn take_back_detached(&mut self, changes: &mut Changes) {
        let open = |gap: &&mut Gap| gap.cause == GapCause::Detached && gap.end.is_none();
        for gap in self.gaps.iter_mut().filter(open) {
            gap.end = Some(gap.start);
            changes.gaps.push(gap.clone());
            changes.app = true;
        }
    }

    /// Another inspector begins: it knows nothing of a loss that the one before had not seen the end of.
    pub(super) fn end_lost(&mut self, at: Micros, changes: &mut Changes) {
        self.wanted.may_be_possible();
        self.end_gaps(changes, Some(at), |gap| gap.cause != GapCause::Unexplained);
    }

    /// Keeps a gap and names it as changed.
    fn tell_gap(&mut self, gap: Gap, changes: &mut Changes) {
        let gap = self.keep_gap(gap);
        changes.gaps.push(gap);
        changes.app = true;
    }

    /// Keeps a gap, and gives it as it is now; one that is told again (it was closed) takes the place of the former, with
    /// what was counted meanwhile.
    pub(super) fn keep_gap(&mut self, mut gap: Gap) -> Gap {
        let same = |known: &&mut Gap| {
            known.cause == gap.cause && known.start == gap.start && known.worker == gap.worker
        };
        if let Some(known) = self.gaps.iter_mut().rev().find(same) {
            gap.missed_starts = gap.missed_starts.or(known.missed_starts);
            known.clone_from(&gap);
            return gap;
        }
        if self.gaps.len() == GAPS_KEPT {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap.clone());
        gap
    }

    /// A start was seen; it counts for the life of its own process only.
    pub(super) fn on_start(&mut self, worker: &str, pid: Option<u64>, clock: Option<u64>) {
        let Some(Watched { worker, .. }) = self.workers.get_mut(worker) else {
            return;
        };
        let former = pid.zip(worker.pid).is_some_and(|(pid, own)| pid != own);
        if !former {
            worker.ledger.on_start(clock);
        }
    }

    /// A heartbeat with counters came: what the one before it counted has been seen by now, or was missed.
    pub(super) fn on_mark(
        &mut self,
        name: &Symbol,
        processed: u64,
        clock: Option<u64>,
        received: Micros,
        changes: &mut Changes,
    ) {
        let Some(Watched { worker, .. }) = self.workers.get_mut(name) else {
            return;
        };
        let finding = worker.ledger.on_mark(processed, clock, received);
        self.on_finding(name, finding, received, changes);
    }

    /// A life is over: no heartbeat of it will come.
    pub(super) fn close_account(&mut self, name: &Symbol, seen: Micros, changes: &mut Changes) {
        if let Some(Watched { worker, .. }) = self.workers.get_mut(name) {
            let finding = worker.ledger.close();
            self.on_finding(name, finding, seen, changes);
        }
    }

    /// Whatever is unfinished when a gap ends may have gone on, or ended, in it.
    fn doubt(&mut self, end: Option<Micros>, changes: &mut Changes) {
        self.doubt_until = self.doubt_until.max(end);
        let now = self.now;
        for slot in self.tasks.unfinished() {
            let task = self.tasks.task_mut(slot);
            if end.is_some_and(|end| task.last_seen < end) {
                if task.doubted.is_none() {
                    self.sought.seek(&task.id, now);
                }
                task.doubted = task.doubted.max(end);
                task.absent_snapshots = 0;
                self.wanted.want(&task.id);
                changes.tasks.push(task.id.clone());
            }
        }
    }

    fn on_finding(
        &mut self,
        name: &Symbol,
        finding: Finding,
        until: Micros,
        changes: &mut Changes,
    ) {
        match finding {
            Finding::Nothing => {}
            Finding::Agrees(at) => self.nothing_missed(at, changes),
            Finding::Found(starts) => self.give_back(name, starts, changes),
            Finding::Missed(missed) => self.on_missed(name, missed, until, changes),
        }
    }

    fn on_missed(&mut self, name: &Symbol, missed: Missed, until: Micros, changes: &mut Changes) {
        let Some(Watched { worker, .. }) = self.workers.get_mut(name) else {
            return;
        };
        // Without events nothing is missed. Starts without any event since may mean that they were just switched off, which
        // the next starts tell; when there are none for a while, they were missed.
        let told = worker.eventless_heartbeats == 0 || missed.marks >= UNTOLD_PATIENCE;
        if worker.events != EventsMode::On || !told {
            return;
        }
        let within = |gap: &&Gap| {
            gap.worker.is_none()
                && gap.cause != GapCause::Unexplained
                && gap.start <= until
                && gap.end.is_none_or(|end| end >= missed.from)
        };
        if let Some(gap) = self.gaps.iter().rev().find(within) {
            let gap = gap.clone();
            worker.ledger.account(missed);
            self.attach(name, &gap, missed.starts, changes);
            return;
        }
        let patience = match worker.inspection.as_deref().and_then(Inspection::pool) {
            Some("threads" | "gevent" | "eventlet") => CONCURRENT_PATIENCE,
            _ => 1,
        };
        if missed.marks >= patience {
            worker.ledger.account(missed);
            self.leave_unexplained(name, missed, changes);
        }
    }

    /// Counts starts of a worker into a gap of all.
    fn attach(&mut self, name: &Symbol, gap: &Gap, starts: u64, changes: &mut Changes) {
        let known = self.gaps.iter().rev().find(|known| {
            known.cause == gap.cause
                && known.start == gap.start
                && known.worker.as_ref() == Some(name)
        });
        let before = known.and_then(|known| known.missed_starts).unwrap_or(0);
        let own = Gap {
            worker: Some(name.clone()),
            missed_starts: Some(before + starts),
            dropped_messages: None,
            ..gap.clone()
        };
        self.tell_gap(own, changes);
        let all = Gap {
            missed_starts: Some(gap.missed_starts.unwrap_or(0) + starts),
            ..gap.clone()
        };
        self.tell_gap(all, changes);
    }

    /// Takes starts that came after all out of the worker's latest gap.
    fn give_back(&mut self, name: &Symbol, starts: u64, changes: &mut Changes) {
        let latest = |gap: &&Gap| {
            gap.worker.as_ref() == Some(name) && gap.missed_starts.is_some_and(|n| n > 0)
        };
        let Some(own) = self.gaps.iter().rev().find(latest).cloned() else {
            return;
        };
        let less = |gap: &Gap| Gap {
            missed_starts: gap.missed_starts.map(|n| n.saturating_sub(starts)),
            ..gap.clone()
        };
        self.tell_gap(less(&own), changes);
        let all =
            self.gaps.iter().rev().find(|gap| {
                gap.worker.is_none() && gap.cause == own.cause && gap.start == own.start
            });
        if let Some(all) = all.map(less) {
            self.tell_gap(all, changes);
        }
    }

    /// A comparison after a gap found nothing: that it can be counted is known now.
    fn nothing_missed(&mut self, until: Micros, changes: &mut Changes) {
        let uncounted = |gap: &&Gap| {
            gap.worker.is_none()
                && gap.missed_starts.is_none()
                && gap.end.is_some_and(|end| end < until)
        };
        // Older ones than the latest few were counted by their own time or never will be.
        if let Some(gap) = self.gaps.iter().rev().take(4).find(uncounted) {
            let counted = Gap {
                missed_starts: Some(0),
                ..gap.clone()
            };
            self.tell_gap(counted, changes);
        }
    }

    fn leave_unexplained(&mut self, name: &Symbol, missed: Missed, changes: &mut Changes) {
        let goes_on = |gap: &&Gap| {
            gap.cause == GapCause::Unexplained
                && gap.worker.as_ref() == Some(name)
                && gap
                    .end
                    .is_some_and(|end| missed.from <= end + micros(UNEXPLAINED_WITHIN))
        };
        let before = self.gaps.iter().rev().find(goes_on);
        let (start, known) = before.map_or((missed.from, 0), |gap| {
            (gap.start, gap.missed_starts.unwrap_or(0))
        });
        let gap = Gap {
            cause: GapCause::Unexplained,
            start,
            end: Some(missed.to),
            worker: Some(name.clone()),
            missed_starts: Some(known + missed.starts),
            dropped_messages: None,
            detail: unexplained(missed, start).into(),
        };
        self.tell_gap(gap, changes);
    }
}

fn unexplained(missed: Missed, start: Micros) -> String {
    let Missed { starts, of, to, .. } = missed;
    let seconds = seconds_of(to - start);
    if to - start >= micros(CONSTANT_AFTER) {
        return format!(
            "for {seconds:.0} s a part of its starts has come without events ({starts} of the last {of}), while the \
             subscription was healthy and other events of it came: some of its tasks have `send_events=False`"
        );
    }
    format!(
        "{starts} of {of} starts came without events while the subscription was healthy: tasks with \
         `send_events=False` look like this, or the worker could not publish"
    )
}
