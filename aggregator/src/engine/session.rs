//! Sessions of inspectors: who is folded, who waits, and how far each has come. Pure: the engine tells it the time.

use std::collections::HashMap;

use tokio::sync::{mpsc, watch};

use super::order::{ORDERS_MAX, Order};
use crate::state::Micros;
use crate::state::input::BrokerFacts;

/// Who an inspector is.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The app it inspects.
    pub app: String,
    /// Its stable name.
    pub instance: String,
    /// Which life of it; larger is later.
    pub epoch: i64,
    /// The version it runs.
    pub version: String,
    /// The broker it inspects.
    pub broker: Option<BrokerFacts>,
}

/// What an inspector is for us. One per app is folded at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is folded.
    Active,
    /// It waits.
    Standby,
}

/// What a session has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// Its role.
    pub role: Role,
    /// The last sequence of its epoch on disk.
    pub acknowledged: u64,
    /// Batches that came again; each is acknowledged again.
    pub repeats: u64,
    /// Why the session is over; `None` while it goes on.
    pub closed: Option<Closed>,
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Another stream of the same inspector is folded; this one broke without anybody noticing, or came late. Nothing is
    /// wrong with its numbers.
    Replaced(&'static str),
    /// What it sent cannot be folded, and its numbers cannot be used on.
    Refused(String),
}

/// Lives of an inspector whose progress is kept. What a network held back of an earlier life may arrive after a later one
/// has attached; without its own count it would make both begin anew, and send again what was folded.
const LIVES_MAX: usize = 4;

/// How far an inspector has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Its life.
    pub(super) epoch: i64,
    /// Last sequence folded.
    pub(super) folded: u64,
    /// Last sequence on disk.
    pub(super) durable: u64,
}

struct Session {
    id: u64,
    hello: Hello,
    told: watch::Sender<SessionState>,
    orders: mpsc::Sender<Order>,
    /// Batches that came again.
    repeats: u64,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    open: Vec<Session>,
    /// By app and instance, kept over reconnects and restarts: the last lives, the one attached last first.
    progress: HashMap<(String, String), Vec<Progress>>,
    next_id: u64,
}

/// What attaching led to.
pub(super) struct Attached {
    /// The session's number.
    pub(super) id: u64,
    /// What it is told, from now on.
    pub(super) state: watch::Receiver<SessionState>,
    /// What it is to do.
    pub(super) orders: mpsc::Receiver<Order>,
    /// It is folded now.
    pub(super) active: bool,
    /// It is another life or another inspector than the one folded before: events in between were missed.
    pub(super) fresh: bool,
}

/// Why an inspector can be given no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// There is none.
    #[error("no inspector of this app is attached")]
    Detached,
    /// Its queue is full.
    #[error(
        "{ORDERS_MAX} orders wait for the inspector of this app already: its stream does not flow"
    )]
    Full,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Fold it, for this app.
    Fold(String),
    /// It was folded before: its ack follows the commit.
    Repeat,
    /// The session was closed.
    Refused,
}

impl Sessions {
    /// Takes up what is on disk.
    pub(super) fn restore(&mut self, app: &str, instance: &str, epoch: i64, durable: u64) {
        let progress = Progress {
            epoch,
            folded: durable,
            durable,
        };
        self.progress
            .insert((app.to_owned(), instance.to_owned()), vec![progress]);
    }

    /// A new session. The same instance replaces its older session; another one waits while one is folded.
    pub(super) fn attach(&mut self, hello: Hello) -> Attached {
        self.next_id += 1;
        let id = self.next_id;
        let same = |session: &Session| {
            session.hello.app == hello.app && session.hello.instance == hello.instance
        };
        let later = |session: &Session| {
            same(session) && session.hello.epoch > hello.epoch && session.is_open()
        };
        if self.open.iter().any(later) {
            let closed = Closed::Replaced("a later life of the same instance is attached");
            let (_, state) = watch::channel(SessionState {
                closed: Some(closed),
                ..SessionState::waiting()
            });
            let (_, orders) = mpsc::channel(1);
            return Attached {
                id,
                state,
                orders,
                active: false,
                fresh: false,
            };
        }
        for session in self.open.iter().filter(|session| same(session)) {
            session.close(Closed::Replaced("the same instance attached again"));
        }
        self.open
            .retain(|session| !same(session) && !session.told.is_closed());
        let active = !self.open.iter().any(|session| {
            session.hello.app == hello.app && session.told.borrow().role == Role::Active
        });
        let (durable, fresh) = self.begin_life(&hello);
        // Batches that were folded and not yet on disk are in memory still: they need not come again, but are
        // acknowledged only when they are durable.
        let (told, state) = watch::channel(SessionState {
            role: if active { Role::Active } else { Role::Standby },
            acknowledged: durable,
            ..SessionState::waiting()
        });
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        self.open.push(Session {
            id,
            hello,
            told,
            orders,
            repeats: 0,
        });
        Attached {
            id,
            state,
            orders: ordered,
            active,
            fresh,
        }
    }

    /// Goes on with a life, or begins it: what is on disk of it, and whether another one was attached before.
    fn begin_life(&mut self, hello: &Hello) -> (u64, bool) {
        let key = (hello.app.clone(), hello.instance.clone());
        let lives = self.progress.entry(key).or_default();
        let known = lives.iter().position(|life| life.epoch == hello.epoch);
        let life = match known {
            Some(place) => lives.remove(place),
            None => Progress {
                epoch: hello.epoch,
                ..Progress::default()
            },
        };
        lives.insert(0, life);
        lives.truncate(LIVES_MAX);
        (life.durable, known != Some(0))
    }

    /// A place in the queue of the inspector that is folded, to be used once the order may be given.
    ///
    /// # Errors
    /// Why no order can be given now.
    pub(super) fn place(&self, app: &str) -> Result<mpsc::OwnedPermit<Order>, NoPlace> {
        let active = self.open.iter().find(|session| {
            let role = session.told.borrow().role;
            session.hello.app == app && role == Role::Active && session.is_open()
        });
        let orders = active.ok_or(NoPlace::Detached)?.orders.clone();
        orders.try_reserve_owned().map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => NoPlace::Full,
            mpsc::error::TrySendError::Closed(_) => NoPlace::Detached,
        })
    }

    /// What to do with a batch of a session.
    pub(super) fn batch(&mut self, id: u64, sequence: u64) -> Verdict {
        let Some(session) = self.open.iter_mut().find(|session| session.id == id) else {
            return Verdict::Refused;
        };
        if session.told.borrow().role == Role::Standby {
            session.refuse("a standby inspector must not send batches".to_owned());
            return Verdict::Refused;
        }
        let app = session.hello.app.clone();
        let Some(progress) = session.progress(&mut self.progress) else {
            session.refuse("too many later lives of this inspector have attached".to_owned());
            return Verdict::Refused;
        };
        if sequence <= progress.folded {
            session.repeats += 1;
            return Verdict::Repeat;
        }
        if sequence != progress.folded + 1 {
            let folded = progress.folded;
            session.refuse(format!("batch {sequence} came after batch {folded}"));
            return Verdict::Refused;
        }
        progress.folded = sequence;
        Verdict::Fold(app)
    }

    /// How far those have come whose batches are folded and not on disk: (app, instance, epoch, sequence). Of an inspector
    /// the present life comes last.
    pub(super) fn undurable(&self) -> impl Iterator<Item = (&str, &str, i64, u64)> {
        self.progress.iter().flat_map(|((app, instance), lives)| {
            let behind = lives.iter().rev().filter(|p| p.folded > p.durable);
            behind.map(|p| (app.as_str(), instance.as_str(), p.epoch, p.folded))
        })
    }

    /// Everything folded is on disk: acknowledges it.
    pub(super) fn committed(&mut self) {
        for progress in self.progress.values_mut().flatten() {
            progress.durable = progress.folded;
        }
        for session in &self.open {
            let Some(progress) = session.progress(&mut self.progress) else {
                continue;
            };
            let durable = progress.durable;
            session.told.send_if_modified(|state| {
                let before = (state.acknowledged, state.repeats);
                (state.acknowledged, state.repeats) = (durable, session.repeats);
                before != (state.acknowledged, state.repeats)
            });
        }
    }

    /// Lets go of sessions whose stream has ended, and lets the oldest waiting one of such an app take over. Gives the
    /// apps that lost their inspector, and those that got another (with its hello).
    pub(super) fn sweep(&mut self) -> (Vec<String>, Vec<Hello>) {
        let mut lost = Vec::new();
        self.open.retain(|session| {
            let over = session.told.is_closed() || session.told.borrow().closed.is_some();
            if over && session.told.borrow().role == Role::Active {
                lost.push(session.hello.app.clone());
            }
            !over
        });
        let mut taken = Vec::new();
        lost.retain(|app| {
            let Some(next) = self.open.iter().find(|session| session.hello.app == *app) else {
                return true;
            };
            next.told.send_modify(|state| state.role = Role::Active);
            taken.push(next.hello.clone());
            false
        });
        (lost, taken)
    }

    /// How far an inspector has come.
    pub(super) fn progress(&self, app: &str, instance: &str) -> Progress {
        self.progress
            .get(&(app.to_owned(), instance.to_owned()))
            .and_then(|lives| lives.first())
            .copied()
            .unwrap_or_default()
    }
}

impl SessionState {
    fn waiting() -> Self {
        Self {
            role: Role::Standby,
            acknowledged: 0,
            repeats: 0,
            closed: None,
        }
    }
}

impl Session {
    fn is_open(&self) -> bool {
        !self.told.is_closed() && self.told.borrow().closed.is_none()
    }

    fn close(&self, closed: Closed) {
        self.told.send_modify(|state| state.closed = Some(closed));
    }

    fn refuse(&self, reason: String) {
        self.close(Closed::Refused(reason));
    }

    /// How far the life of this session has come.
    fn progress<'a>(
        &self,
        progress: &'a mut HashMap<(String, String), Vec<Progress>>,
    ) -> Option<&'a mut Progress> {
        let key = (self.hello.app.clone(), self.hello.instance.clone());
        let lives = progress.get_mut(&key)?;
        lives.iter_mut().find(|life| life.epoch == self.hello.epoch)
    }
}

/// Since when an app had nobody attached: the last time anything of it came.
pub(super) fn gap_start(last_seen: Option<Micros>, now: Micros) -> Micros {
    last_seen.map_or(now, |seen| seen.min(now))
}

#[cfg(test)]
mod tests;
