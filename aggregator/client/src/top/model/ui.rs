//! What the person looks at: a view, where its cursor is, and what lies over it.

use celeriac_client::v1;

use super::lists::ListState;

/// The views, in the order of their tabs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Overview,
    Workers,
    Queues,
    Names,
    Tasks,
    Failures,
}

impl View {
    pub(crate) const ALL: [Self; 6] = [
        Self::Overview,
        Self::Workers,
        Self::Queues,
        Self::Names,
        Self::Tasks,
        Self::Failures,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Workers => "Workers",
            Self::Queues => "Queues",
            Self::Names => "Names",
            Self::Tasks => "Tasks",
            Self::Failures => "Failures",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A task or a worker that is shown at length, or told something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Task { app: String, id: String },
    Worker { app: String, name: String },
}

impl Target {
    pub(crate) fn app(&self) -> &str {
        match self {
            Self::Task { app, .. } | Self::Worker { app, .. } => app,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Task { id, .. } => id,
            Self::Worker { name, .. } => name,
        }
    }
}

/// What a detail shows.
#[derive(Clone, Debug)]
pub(crate) enum Thing {
    Task(v1::Task),
    Worker(v1::Worker),
}

/// A task or a worker at length.
#[derive(Clone, Debug)]
pub(crate) struct Detail {
    pub(crate) target: Target,
    /// `None` until it was read.
    pub(crate) thing: Option<Result<Box<Thing>, String>>,
    pub(crate) scroll: usize,
}

/// A command that was sent, or is being sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Empty until the shell has made one.
    pub(crate) request_id: String,
    pub(crate) request: Box<v1::ExecuteCommandRequest>,
    pub(crate) outcome: Option<Result<Box<v1::CommandRecord>, String>>,
    pub(crate) scroll: usize,
}

/// What can be told to a target, by key and in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ping,
    Grow,
    Shrink,
    EnableEvents,
    DisableEvents,
    AddConsumer,
    CancelConsumer,
    RestartPool,
    Shutdown,
    Revoke,
    Terminate,
    Kill,
}

/// A line of text that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
}

/// What lies over a view; the last one has the keys.
#[derive(Clone, Debug)]
pub(crate) enum Overlay {
    Help {
        scroll: usize,
    },
    Advice {
        scroll: usize,
    },
    Detail(Detail),
    /// What to tell a target.
    Menu {
        target: Target,
        index: usize,
    },
    /// Which queue to add or cancel.
    Queue {
        target: Target,
        order: Order,
        line: Line,
    },
    /// Whether to send.
    Confirm(Box<v1::ExecuteCommandRequest>),
    Sent(Sent),
    /// A filter; on tasks in AIP-160, or as a search in Flower's grammar.
    Filter {
        line: Line,
        search: bool,
    },
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Ui {
    pub(crate) view: View,
    /// One a view.
    pub(crate) lists: [ListState; View::ALL.len()],
    /// At most four: a detail, its menu, a question, an answer.
    pub(crate) overlays: Vec<Overlay>,
    /// Columns and rows of the terminal.
    pub(crate) size: (u16, u16),
    /// One line for the person, until the next key.
    pub(crate) notice: Option<String>,
}

impl Default for Ui {
    fn default() -> Self {
        let mut lists: [ListState; View::ALL.len()] = Default::default();
        // The second columns: the most backlog, and what starts most.
        lists[View::Queues.index()].sort = 1;
        lists[View::Names.index()].sort = 1;
        Self {
            view: View::default(),
            lists,
            overlays: Vec::new(),
            size: (80, 24),
            notice: None,
        }
    }
}

impl Ui {
    pub(crate) fn list(&self) -> &ListState {
        &self.lists[self.view.index()]
    }

    pub(crate) fn list_mut(&mut self) -> &mut ListState {
        &mut self.lists[self.view.index()]
    }

    /// Whether the list of tasks is on the screen.
    pub(super) fn shows_tasks(&self) -> bool {
        self.view == View::Tasks
    }

    pub(super) fn thing(&mut self, target: &Target, thing: Result<Box<Thing>, String>) {
        for overlay in &mut self.overlays {
            if let Overlay::Detail(detail) = overlay
                && detail.target == *target
            {
                // What was read stays when it cannot be read again: the connection's state is said elsewhere.
                if thing.is_ok() || detail.thing.is_none() {
                    detail.thing = Some(thing);
                }
                return;
            }
        }
    }

    pub(super) fn sent(
        &mut self,
        request_id: &str,
        outcome: Result<Box<v1::CommandRecord>, String>,
    ) {
        let shown = self.overlays.iter_mut().find_map(|overlay| match overlay {
            Overlay::Sent(sent) if sent.request_id == request_id => Some(sent),
            _ => None,
        });
        match shown {
            Some(sent) => sent.outcome = Some(outcome),
            None => {
                self.notice = Some(match outcome {
                    Ok(_) => format!("answered; `celeriac command {request_id}` shows it"),
                    Err(error) => error,
                });
            }
        }
    }

    /// Gives the command that was just confirmed its id.
    pub(crate) fn identify(&mut self, id: &str) {
        if let Some(Overlay::Sent(sent)) = self.overlays.last_mut()
            && sent.request_id.is_empty()
        {
            id.clone_into(&mut sent.request_id);
        }
    }
}
