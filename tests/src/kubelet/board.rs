//! What a node knows of the containers of one pod, for whoever waits for them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use tokio::sync::watch;

/// What a container does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// Not yet, or not again yet: reason and message, in Kubernetes' words.
    Waiting(&'static str, String),
    /// Since then.
    Running(Timestamp),
    /// It has ended.
    Ended(Ended),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// A container as its pod's status tells it, and what tests ask beyond that.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ContainerState {
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) restarts: i32,
    pub(super) started: bool,
    pub(super) ready: bool,
    /// It will not run again.
    pub(super) over: bool,
    /// Its own process, by this machine's numbers, while it runs.
    pub(super) pid: Option<u32>,
    pub(super) log: Option<PathBuf>,
    /// The end of what its last life wrote.
    pub(super) last_log: String,
}

impl Default for ContainerState {
    fn default() -> Self {
        Self {
            state: State::Waiting("PodInitializing", String::new()),
            last: None,
            restarts: 0,
            started: false,
            ready: false,
            over: false,
            pid: None,
            log: None,
            last_log: String::new(),
        }
    }
}

/// All containers of a pod by name.
pub(super) type States = BTreeMap<String, ContainerState>;

/// Who writes what becomes of a pod's containers; anybody may read it.
pub(super) struct Board(watch::Sender<States>);

impl Board {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let states = names.map(|name| (name, ContainerState::default()));
        Self(watch::Sender::new(states.collect()))
    }

    /// Changes one container's entry.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut ContainerState)) {
        self.0
            .send_modify(|states| change(states.entry(name.to_owned()).or_default()));
    }

    /// As it is now.
    pub(super) fn states(&self) -> States {
        self.0.borrow().clone()
    }

    /// Whoever wants to wait for changes.
    pub(super) fn watch(&self) -> watch::Receiver<States> {
        self.0.subscribe()
    }

    /// Waits until all of these are over.
    pub(super) async fn over(&self, names: &[String]) {
        let over = |states: &States| {
            names
                .iter()
                .all(|name| states.get(name).is_some_and(|state| state.over))
        };
        self.watch()
            .wait_for(over)
            .await
            .expect("the board is ours, so its writer is there");
    }
}
