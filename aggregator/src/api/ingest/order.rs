//! Orders to an inspector, and what it tells of them.

use celeriac_proto::v1;
use celeriac_proto::v1::attach_response::Message as Response;

use crate::command::{Publication, Reply, Report};
use crate::engine::order::{Destination, Order};

/// An order as it goes on the stream.
pub(super) fn message(order: Order) -> Response {
    match order {
        Order::Command(order) => {
            let (destination, all_workers) = match order.destination {
                Destination::All => (Vec::new(), true),
                Destination::Nodes(nodes) => (nodes, false),
            };
            Response::Command(v1::CommandOrder {
                request_id: order.request_id,
                method: order.method,
                arguments_json: order.arguments_json,
                destination,
                all_workers,
                wait_millis: u32::try_from(order.wait.as_millis()).unwrap_or(u32::MAX),
            })
        }
        Order::Results(ids) => Response::Results(v1::ResultOrder {
            task_ids: ids.iter().map(ToString::to_string).collect(),
        }),
        Order::Depths(queues) => Response::Depths(v1::DepthOrder { queues }),
        Order::Query(query) => Response::Query(v1::QueryOrder {
            task_ids: query.tasks.iter().map(ToString::to_string).collect(),
            destination: query.workers.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// What an inspector tells of a command.
pub(super) fn report(report: v1::CommandReport) -> Report {
    Report {
        request_id: report.request_id,
        publication: report.publication.map(publication),
        replies: report.replies.into_iter().map(reply).collect(),
    }
}

fn publication(told: v1::CommandPublication) -> Publication {
    use v1::CommandOutcome as Outcome;
    match (told.outcome(), told.published_micros) {
        (Outcome::Published, Some(time)) => Publication::Published {
            time,
            subscribers: told.subscribers,
        },
        (Outcome::NotPublished, _) => Publication::NotPublished {
            reason: told.reason,
        },
        // What cannot be read says nothing.
        (Outcome::Published | Outcome::Unknown | Outcome::Validated | Outcome::Unspecified, _) => {
            Publication::Unknown {
                reason: told.reason,
            }
        }
    }
}

fn reply(reply: v1::CommandReply) -> Reply {
    Reply {
        worker: reply.worker,
        value_json: reply.value_json,
        time: reply.received_micros,
        size: reply.size,
    }
}
