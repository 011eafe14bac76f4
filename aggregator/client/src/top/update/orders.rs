//! Telling a worker or a task something: a menu, a question, and what was answered. Nothing is sent without a `y`.

use celeriac_client::v1;
use celeriac_client::v1::execute_command_request::Command;

use super::super::model::ui::{Line, Order, Overlay, Sent, Target, View};
use super::super::model::{Action, Model};
use super::super::rows;
use super::{Key, overlay_target, typed};

/// For how long to wait for answers.
const WAIT: prost_types::Duration = prost_types::Duration {
    seconds: 5,
    nanos: 0,
};

const OF_WORKER: [Order; 9] = [
    Order::Ping,
    Order::Grow,
    Order::Shrink,
    Order::EnableEvents,
    Order::DisableEvents,
    Order::AddConsumer,
    Order::CancelConsumer,
    Order::RestartPool,
    Order::Shutdown,
];
const OF_TASK: [Order; 3] = [Order::Revoke, Order::Terminate, Order::Kill];

impl Order {
    /// The key of it in the menu.
    pub(crate) fn key(self) -> char {
        match self {
            Self::Ping => 'p',
            Self::Grow => '+',
            Self::Shrink => '-',
            Self::EnableEvents => 'e',
            Self::DisableEvents => 'd',
            Self::AddConsumer => 'a',
            Self::CancelConsumer => 'x',
            Self::RestartPool => 'R',
            Self::Shutdown => 'S',
            Self::Revoke => 'r',
            Self::Terminate => 't',
            Self::Kill => 'K',
        }
    }

    /// What it does.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Ping => "ping: is it there?",
            Self::Grow => "grow the pool by one process",
            Self::Shrink => "shrink the pool by one process",
            Self::EnableEvents => "enable task events",
            Self::DisableEvents => "disable task events",
            Self::AddConsumer => "consume from a queue ...",
            Self::CancelConsumer => "stop consuming from a queue ...",
            Self::RestartPool => "restart the pool (ends what it runs)",
            Self::Shutdown => "shut the worker down (warm)",
            Self::Revoke => "revoke: workers discard it when it comes",
            Self::Terminate => "revoke, and end it if it runs (SIGTERM)",
            Self::Kill => "revoke, and kill it if it runs (SIGKILL)",
        }
    }
}

/// What can be told to a target.
pub(crate) fn orders(target: &Target) -> &'static [Order] {
    match target {
        Target::Worker { .. } => &OF_WORKER,
        Target::Task { .. } => &OF_TASK,
    }
}

/// What the cursor is on, if it is a worker or a task.
pub(crate) fn target(model: &Model) -> Option<Target> {
    let state = model.ui.list();
    let task = |rows: &[&v1::Task]| {
        let task = rows.get(state.cursor(rows))?;
        Some(Target::Task {
            app: task.app.clone(),
            id: task.id.clone(),
        })
    };
    match model.ui.view {
        View::Workers => {
            let rows = rows::workers(model);
            let worker = &rows.get(state.cursor(&rows))?.item;
            Some(Target::Worker {
                app: worker.app.clone(),
                name: worker.name.clone(),
            })
        }
        View::Tasks => task(&rows::tasks(model)),
        View::Failures => task(&rows::failures(model)),
        View::Overview | View::Queues | View::Names => None,
    }
}

/// Opens the menu of what is shown at length, or of what the cursor is on.
pub(crate) fn open(model: &mut Model) {
    let shown = model.ui.overlays.last().and_then(overlay_target).cloned();
    match shown.or_else(|| target(model)) {
        Some(target) => model.ui.overlays.push(Overlay::Menu { target, index: 0 }),
        None => model.ui.notice = Some("put the cursor on a worker or a task".to_owned()),
    }
}

/// A key of the menu, of the question which queue, or of the question whether.
pub(super) fn key(model: &mut Model, key: Key) -> Vec<Action> {
    match model.ui.overlays.last_mut() {
        Some(Overlay::Menu { target, index }) => {
            let orders = orders(target);
            let chosen = match key {
                Key::Up | Key::Char('k') => {
                    *index = index.saturating_sub(1);
                    return Vec::new();
                }
                Key::Down | Key::Char('j') => {
                    *index = (*index + 1).min(orders.len() - 1);
                    return Vec::new();
                }
                Key::Enter => orders.get(*index).copied(),
                Key::Char(c) => orders.iter().copied().find(|order| order.key() == c),
                _ => None,
            };
            let target = target.clone();
            match chosen {
                Some(order) => choose(model, target, order),
                None if key == Key::Char('q') => {
                    model.ui.overlays.pop();
                }
                None => {}
            }
        }
        Some(Overlay::Queue {
            target,
            order,
            line,
        }) => {
            if key == Key::Enter && !line.text.trim().is_empty() {
                let (target, order, queue) = (target.clone(), *order, line.text.trim().to_owned());
                model.ui.overlays.pop();
                ask(model, &target, order, queue);
            } else {
                typed(line, key);
            }
        }
        Some(Overlay::Confirm(_)) => return confirm(model, key),
        _ => {}
    }
    Vec::new()
}

fn choose(model: &mut Model, target: Target, order: Order) {
    model.ui.overlays.pop();
    if matches!(order, Order::AddConsumer | Order::CancelConsumer) {
        model.ui.overlays.push(Overlay::Queue {
            target,
            order,
            line: Line::default(),
        });
    } else {
        ask(model, &target, order, String::new());
    }
}

/// Asks whether to send. Enter is not enough: it is what people press to go on.
fn ask(model: &mut Model, target: &Target, order: Order, queue: String) {
    let request = request(target, order, queue);
    model.ui.overlays.push(Overlay::Confirm(Box::new(request)));
}

fn confirm(model: &mut Model, key: Key) -> Vec<Action> {
    match key {
        Key::Char('y' | 'Y') => {}
        Key::Char('n' | 'N' | 'q') => {
            model.ui.overlays.pop();
            model.ui.notice = Some("nothing was sent".to_owned());
            return Vec::new();
        }
        _ => return Vec::new(),
    }
    let Some(Overlay::Confirm(request)) = model.ui.overlays.pop() else {
        return Vec::new();
    };
    model.ui.overlays.push(Overlay::Sent(Sent {
        request_id: String::new(),
        request: request.clone(),
        outcome: None,
        scroll: 0,
    }));
    vec![Action::Send(request)]
}

/// The command: to the worker, or for a task to all workers, since no one knows which of them will get it.
fn request(target: &Target, order: Order, queue: String) -> v1::ExecuteCommandRequest {
    let revoke = |terminate: bool, signal: &str| {
        Command::Revoke(v1::RevokeCommand {
            task_ids: vec![target.name().to_owned()],
            terminate,
            signal: signal.to_owned(),
        })
    };
    let command = match order {
        Order::Ping => Command::Ping(v1::PingCommand {}),
        Order::Grow => Command::PoolGrow(v1::PoolGrowCommand { count: 1 }),
        Order::Shrink => Command::PoolShrink(v1::PoolShrinkCommand { count: 1 }),
        Order::EnableEvents => Command::EnableEvents(v1::EnableEventsCommand {}),
        Order::DisableEvents => Command::DisableEvents(v1::DisableEventsCommand {}),
        Order::AddConsumer => Command::AddConsumer(v1::AddConsumerCommand {
            queue,
            ..Default::default()
        }),
        Order::CancelConsumer => Command::CancelConsumer(v1::CancelConsumerCommand {
            queue,
            drain: false,
        }),
        Order::RestartPool => Command::PoolRestart(v1::PoolRestartCommand::default()),
        Order::Shutdown => Command::Shutdown(v1::ShutdownCommand {}),
        Order::Revoke => revoke(false, ""),
        Order::Terminate => revoke(true, "SIGTERM"),
        Order::Kill => revoke(true, "SIGKILL"),
    };
    let (destination, all_workers) = match target {
        Target::Worker { name, .. } => (vec![name.clone()], false),
        Target::Task { .. } => (Vec::new(), true),
    };
    v1::ExecuteCommandRequest {
        app: target.app().to_owned(),
        destination,
        all_workers,
        wait: Some(WAIT),
        reason: "celeriac top".to_owned(),
        command: Some(command),
        ..Default::default()
    }
}
