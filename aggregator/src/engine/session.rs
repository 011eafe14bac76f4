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
    pub closed: Option<String>,
}

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
    /// By app and instance, kept over reconnects and restarts.
    progress: HashMap<(String, String), Progress>,
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
pub(super) enum NoPlace {
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
            .insert((app.to_owned(), instance.to_owned()), progress);
    }

    /// A new session. The same instance replaces its older session; another one waits while one is folded.
    pub(super) fn attach(&mut self, hello: Hello) -> Attached {
        let same = |session: &Session| {
            session.hello.app == hello.app && session.hello.instance == hello.instance
        };
        for session in self.open.iter().filter(|session| same(session)) {
            let reason = "the same instance attached again".to_owned();
            session
                .told
                .send_modify(|state| state.closed = Some(reason));
        }
        self.open
            .retain(|session| !same(session) && !session.told.is_closed());
        let active = !self.open.iter().any(|session| {
            session.hello.app == hello.app && session.told.borrow().role == Role::Active
        });
        let key = (hello.app.clone(), hello.instance.clone());
        let progress = self.progress.entry(key).or_default();
        let fresh = progress.epoch != hello.epoch;
        if fresh {
            *progress = Progress {
                epoch: hello.epoch,
                folded: 0,
                durable: 0,
            };
        }
        // Batches that were folded and not yet on disk are in memory still: they need not come again, but are
        // acknowledged only when they are durable.
        let role = if active { Role::Active } else { Role::Standby };
        let state = SessionState {
            role,
            acknowledged: progress.durable,
            repeats: 0,
            closed: None,
        };
        let (sender, receiver) = watch::channel(state);
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        self.next_id += 1;
        self.open.push(Session {
            id: self.next_id,
            hello,
            told: sender,
            orders,
            repeats: 0,
        });
        Attached {
            id: self.next_id,
            state: receiver,
            orders: ordered,
            active,
            fresh,
        }
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "commands are recorded first"))]
    /// A place in the queue of the inspector that is folded, to be used once the order may be given.
    ///
    /// # Errors
    /// Why no order can be given now.
    pub(super) fn place(&self, app: &str) -> Result<mpsc::OwnedPermit<Order>, NoPlace> {
        let active = self.open.iter().find(|session| {
            let told = session.told.borrow();
            session.hello.app == app
                && told.role == Role::Active
                && told.closed.is_none()
                && !session.told.is_closed()
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
        let told = session.told.clone();
        let close = |reason: String| told.send_modify(|state| state.closed = Some(reason));
        if session.told.borrow().role == Role::Standby {
            close("a standby inspector must not send batches".to_owned());
            return Verdict::Refused;
        }
        let Hello { app, instance, .. } = &session.hello;
        let progress = self
            .progress
            .entry((app.clone(), instance.clone()))
            .or_default();
        if sequence <= progress.folded {
            session.repeats += 1;
            return Verdict::Repeat;
        }
        if sequence != progress.folded + 1 {
            close(format!(
                "batch {sequence} came after batch {}",
                progress.folded
            ));
            return Verdict::Refused;
        }
        progress.folded = sequence;
        Verdict::Fold(app.clone())
    }

    /// How far those have come whose batches are folded and not on disk: (app, instance, epoch, sequence).
    pub(super) fn undurable(&self) -> impl Iterator<Item = (&str, &str, i64, u64)> {
        self.progress
            .iter()
            .filter(|(_, progress)| progress.folded > progress.durable)
            .map(|((app, instance), p)| (app.as_str(), instance.as_str(), p.epoch, p.folded))
    }

    /// Everything folded is on disk: acknowledges it.
    pub(super) fn committed(&mut self) {
        for progress in self.progress.values_mut() {
            progress.durable = progress.folded;
        }
        for session in &self.open {
            let key = (session.hello.app.clone(), session.hello.instance.clone());
            let Some(progress) = self.progress.get(&key) else {
                continue;
            };
            session.told.send_if_modified(|state| {
                let before = (state.acknowledged, state.repeats);
                (state.acknowledged, state.repeats) = (progress.durable, session.repeats);
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
            .copied()
            .unwrap_or_default()
    }
}

/// Since when an app had nobody attached: the last time anything of it came.
pub(super) fn gap_start(last_seen: Option<Micros>, now: Micros) -> Micros {
    last_seen.map_or(now, |seen| seen.min(now))
}

#[cfg(test)]
mod tests {
    use super::super::order::{CommandOrder, Destination};
    use super::*;

    fn hello(instance: &str, epoch: i64) -> Hello {
        Hello {
            app: "shop".to_owned(),
            instance: instance.to_owned(),
            epoch,
            version: "0".to_owned(),
            broker: None,
        }
    }

    #[test]
    fn batches_are_folded_once_and_acknowledged_when_durable() {
        let mut sessions = Sessions::default();
        let first = sessions.attach(hello("a", 1));
        assert!(first.active && first.fresh);
        assert_eq!(
            sessions.batch(first.id, 1),
            Verdict::Fold("shop".to_owned())
        );
        assert_eq!(sessions.batch(first.id, 1), Verdict::Repeat);
        assert_eq!(first.state.borrow().acknowledged, 0);
        sessions.committed();
        assert_eq!(first.state.borrow().acknowledged, 1);
        assert_eq!(first.state.borrow().repeats, 1);
        let again = sessions.attach(hello("a", 1));
        assert!(again.active && !again.fresh);
        assert_eq!(again.state.borrow().acknowledged, 1);
        assert_eq!(
            first.state.borrow().closed.as_deref(),
            Some("the same instance attached again")
        );
        assert_eq!(sessions.batch(first.id, 2), Verdict::Refused);
        assert_eq!(sessions.batch(again.id, 3), Verdict::Refused);
        let told = again.state.borrow().closed.clone();
        assert_eq!(told.as_deref(), Some("batch 3 came after batch 1"));
    }

    #[test]
    fn a_new_life_counts_anew_and_what_is_on_disk_is_known_after_a_restart() {
        let mut sessions = Sessions::default();
        sessions.restore("shop", "a", 5, 42);
        let same = sessions.attach(hello("a", 5));
        assert_eq!((same.fresh, same.state.borrow().acknowledged), (false, 42));
        assert_eq!(
            sessions.batch(same.id, 43),
            Verdict::Fold("shop".to_owned())
        );
        let later = sessions.attach(hello("a", 6));
        assert_eq!((later.fresh, later.state.borrow().acknowledged), (true, 0));
        assert_eq!(
            sessions.batch(later.id, 1),
            Verdict::Fold("shop".to_owned())
        );
    }

    #[test]
    fn only_the_inspector_that_is_folded_is_given_orders_and_not_too_many() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.place("shop").err(), Some(NoPlace::Detached));
        let first = sessions.attach(hello("a", 1));
        let mut second = sessions.attach(hello("b", 2));
        let order = |number: usize| {
            Order::Command(CommandOrder {
                request_id: number.to_string(),
                method: "ping".to_owned(),
                arguments_json: "{}".to_owned(),
                destination: Destination::All,
                wait: std::time::Duration::ZERO,
            })
        };
        for number in 0..ORDERS_MAX {
            sessions
                .place("shop")
                .expect("there is room")
                .send(order(number));
        }
        assert_eq!(sessions.place("shop").err(), Some(NoPlace::Full));
        assert_eq!(sessions.place("other").err(), Some(NoPlace::Detached));
        assert!(second.orders.try_recv().is_err(), "it waits");
        // Those it was given are not given to the next one.
        drop(first);
        assert_eq!(sessions.place("shop").err(), Some(NoPlace::Detached));
        sessions.sweep();
        assert!(second.orders.try_recv().is_err());
        sessions
            .place("shop")
            .expect("it is folded now")
            .send(order(7));
        assert_eq!(second.orders.try_recv(), Ok(order(7)));
    }

    #[test]
    fn one_inspector_is_folded_and_the_next_takes_over() {
        let mut sessions = Sessions::default();
        let first = sessions.attach(hello("a", 1));
        let second = sessions.attach(hello("b", 2));
        assert!(!second.active);
        assert_eq!(sessions.batch(second.id, 1), Verdict::Refused);
        let second = sessions.attach(hello("b", 3));
        assert_eq!(second.state.borrow().role, Role::Standby);
        drop(first);
        let (lost, taken) = sessions.sweep();
        assert!(lost.is_empty());
        assert_eq!(taken.len(), 1);
        assert_eq!(second.state.borrow().role, Role::Active);
        drop(second);
        assert_eq!(sessions.sweep().0, ["shop"]);
    }
}
