//! Orders of the aggregator to what the collector takes, and what is told of them back.

use std::time::Duration;

use celeriac_proto::v1;
use serde_json::{Map, Value};

use crate::collect::{
    Command, CommandReply, CommandReport, Node, Publication, Query, ResultReport,
};
use crate::wire::outcome::Outcome;
use crate::wire::pidbox::{Control, CustomMethod, Destination, Inspect, Method, NotSendable};

/// Tasks in one `query_task` at most, as the contract says: the request goes to every worker.
const QUERIED_MAX: usize = 100;

/// Queues in one order at most, as the contract says.
const FOLLOWED_MAX: usize = 64;

/// Why a command of the aggregator is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadOrder {
    /// Its name.
    #[error("`{method}` cannot be sent: {why}")]
    Method {
        /// The name.
        method: String,
        /// Why not.
        why: NotSendable,
    },
    /// Its arguments.
    #[error("the arguments of `{0}` are not a JSON object")]
    Arguments(String),
    /// Whom it is for.
    #[error("the command names no worker and is not for all")]
    Destination,
}

/// The command of an order.
///
/// # Errors
/// When it is none that may be sent.
pub fn command(order: v1::CommandOrder) -> Result<Command, BadOrder> {
    let method = method(&order.method).map_err(|why| BadOrder::Method {
        method: order.method.clone(),
        why,
    })?;
    let arguments = match serde_json::from_str(&order.arguments_json) {
        Ok(Value::Object(arguments)) => arguments,
        Err(_) if order.arguments_json.is_empty() => Map::new(),
        Ok(_) | Err(_) => return Err(BadOrder::Arguments(order.method)),
    };
    let destination = if order.all_workers {
        Destination::everyone()
    } else {
        Destination::nodes(order.destination).ok_or(BadOrder::Destination)?
    };
    Ok(Command {
        request_id: order.request_id,
        method,
        arguments,
        destination,
        wait: Duration::from_millis(order.wait_millis.into()),
    })
}

/// Tasks to be asked for. An order that names no worker asks nobody.
pub fn query(order: v1::QueryOrder) -> Query {
    let mut tasks = order.task_ids;
    tasks.truncate(QUERIED_MAX);
    let nodes = order
        .destination
        .iter()
        .map(|name| Node::from(name.as_str()));
    Query {
        tasks,
        nodes: nodes.collect(),
    }
}

/// Queues to be looked at.
pub fn depths(order: v1::DepthOrder) -> Vec<String> {
    let mut queues = order.queues;
    queues.truncate(FOLLOWED_MAX);
    queues
}

fn method(name: &str) -> Result<Method, NotSendable> {
    if let Some(inspect) = Inspect::of(name) {
        return Ok(inspect.into());
    }
    if let Some(control) = Control::of(name) {
        return Ok(control.into());
    }
    CustomMethod::new(name).map(Method::from)
}

/// What is told of a command.
pub(super) fn report(report: CommandReport) -> v1::CommandReport {
    v1::CommandReport {
        request_id: report.request_id,
        publication: report.publication.map(publication),
        replies: report.replies.into_iter().map(reply).collect(),
    }
}

fn publication(publication: Publication) -> v1::CommandPublication {
    use v1::CommandOutcome as Outcome;
    let (outcome, published_micros, subscribers, reason) = match publication {
        Publication::Published {
            at_micros,
            subscribers,
        } => (
            Outcome::Published,
            Some(at_micros),
            subscribers,
            String::new(),
        ),
        Publication::NotPublished { reason } => (Outcome::NotPublished, None, None, reason),
        Publication::Unknown { reason } => (Outcome::Unknown, None, None, reason),
    };
    v1::CommandPublication {
        outcome: outcome.into(),
        published_micros,
        subscribers,
        reason,
    }
}

fn reply(reply: CommandReply) -> v1::CommandReply {
    v1::CommandReply {
        worker: reply.worker,
        value_json: reply.value_json,
        received_micros: reply.received_micros,
        size: reply.size,
    }
}

/// What the result backend said.
pub fn results(report: ResultReport) -> v1::ResultReport {
    let outcomes = report.outcomes.into_iter();
    v1::ResultReport {
        configured: report.configured,
        results: outcomes
            .map(|(id, outcome)| task_result(id, outcome))
            .collect(),
        error: report.error,
    }
}

fn task_result(task_id: String, outcome: Outcome) -> v1::TaskResult {
    let cut = outcome.truncated.into_iter();
    v1::TaskResult {
        task_id,
        status: outcome.status,
        date_done: outcome.date_done,
        result: outcome.result,
        exception: outcome.exception,
        traceback: outcome.traceback,
        truncated: cut.map(|(field, size)| (field.to_owned(), size)).collect(),
    }
}
