//! What the aggregator orders, beside the plan: a command goes out before anything the plan would ask, at once, and once.

use std::time::Instant;

use tokio::sync::mpsc;

use super::errands::{Errand, Running, seconds};
use super::{Collector, wall_micros};
use crate::collect::commands::Heard;
use crate::collect::order::{
    Command, CommandReply, CommandReport, Order, Publication, ResultReport,
};
use crate::transport::{Published, Transport, TransportError};
use crate::wire::outcome::Outcome;
use crate::wire::pidbox::{Control, Method, Reply, Request};

impl Collector {
    /// Takes an order in.
    pub(super) fn on_order<'a, T: Transport>(
        &mut self,
        now: Instant,
        order: Order,
        transport: &'a T,
        running: &mut Running<'a>,
    ) {
        match order {
            Order::Command(command) => self.on_command(now, command, transport, running),
            Order::Query(query) => {
                if !self.plan.on_query(query.tasks, &query.nodes) {
                    tracing::warn!(
                        "tasks are not asked for: too many requests wait for the budget"
                    );
                }
            }
            // As those that tasks are sent to: known for an hour.
            Order::Depths(queues) => {
                for queue in &queues {
                    self.queues.on_sent(now, queue);
                }
            }
            Order::Results(task_ids) => running.push(Box::pin(async move {
                let result = transport.results(&task_ids).await;
                Errand::Results { task_ids, result }
            })),
        }
    }

    /// Outcomes were looked up. What cannot be read is counted and told.
    pub(super) fn on_results(
        &mut self,
        task_ids: Vec<String>,
        result: Result<Option<Vec<Vec<u8>>>, TransportError>,
    ) {
        let mut report = ResultReport {
            configured: true,
            ..ResultReport::default()
        };
        match result {
            Ok(None) => report.configured = false,
            Err(error) => report.error = Some(error.to_string()),
            Ok(Some(values)) => {
                let there = task_ids.into_iter().zip(values);
                for (id, value) in there.filter(|(_, value)| !value.is_empty()) {
                    match Outcome::read(&value) {
                        Ok(outcome) => report.outcomes.push((id, outcome)),
                        Err(why) => report.error = Some(why.to_string()),
                    }
                }
            }
        }
        self.pending.results.push(report);
    }

    fn on_command<'a, T: Transport>(
        &mut self,
        now: Instant,
        command: Command,
        transport: &'a T,
        running: &mut Running<'a>,
    ) {
        let Some(ticket) = self.commands.begin(now, &command) else {
            tracing::warn!(
                request_id = command.request_id,
                "a command came twice; it is published once"
            );
            return;
        };
        let Command {
            request_id,
            method,
            arguments,
            destination,
            wait,
        } = command;
        let expires = seconds(wall_micros()) + wait.as_secs_f64();
        let mut request = Request::new(method.clone(), destination).arguments(arguments);
        if method.is_answered() {
            request = request.reply_to(transport.reply_queue(), &ticket.ticket);
        }
        let message = request.encode(self.serializer, expires);
        self.commanding = Some(request_id);
        running.push(Box::pin(async move {
            let result = transport.publish_control(&message).await;
            Errand::Commanded {
                number: ticket.number,
                method,
                at_micros: wall_micros(),
                result,
            }
        }));
    }

    /// A command went out, or did not.
    pub(super) fn on_commanded(
        &mut self,
        now: Instant,
        number: u64,
        method: &Method,
        at_micros: i64,
        result: Result<Published, TransportError>,
    ) {
        let Some(request_id) = self.commanding.take() else {
            return;
        };
        let publication = match result {
            Ok(published) => {
                let subscribers = published.subscribers;
                self.commands.on_published(now, number, subscribers);
                let deliveries = subscribers.or(self.plan.subscribers()).unwrap_or(1);
                self.plan.on_command(now, deliveries, subscribers);
                self.metrics.on_request(metric(method), deliveries);
                self.errands.look_for_replies(now);
                Publication::Published {
                    at_micros,
                    subscribers,
                }
            }
            // Answers may come all the same, so its ticket stays known.
            Err(error @ TransportError::Unsure { .. }) => Publication::Unknown {
                reason: error.to_string(),
            },
            Err(error) => {
                self.commands.abandon(number);
                Publication::NotPublished {
                    reason: error.to_string(),
                }
            }
        };
        if !matches!(publication, Publication::Published { .. }) {
            tracing::warn!(request_id, ?publication, "a command did not go out");
        }
        self.pending.commands.push(CommandReport {
            request_id,
            publication: Some(publication),
            replies: Vec::new(),
        });
    }

    /// Takes a reply in. False when it is none to a command.
    pub(super) fn on_command_reply(
        &mut self,
        now: Instant,
        received_micros: i64,
        reply: &Reply,
    ) -> bool {
        let ticket = reply.ticket.as_deref().unwrap_or_default();
        let Some(heard) = self.commands.on_reply(now, ticket, &reply.hostname) else {
            return false;
        };
        let Heard::Answer { request_id, method } = heard else {
            self.metrics.stray_replies.inc();
            return true;
        };
        let sighting = self.roster.on_answer(now, &reply.hostname);
        self.plan
            .on_sighting(now, &mut self.roster, &reply.hostname, sighting);
        if changes_worker(&method) {
            self.plan.on_change(now, &mut self.roster, &reply.hostname);
        }
        let (value_json, size) = reply.shown(&method);
        let reply = CommandReply {
            worker: reply.hostname.clone(),
            value_json,
            received_micros,
            size,
        };
        let same = |report: &&mut CommandReport| report.request_id == request_id;
        match self.pending.commands.iter_mut().rev().find(same) {
            Some(report) => report.replies.push(reply),
            None => self.pending.commands.push(CommandReport {
                request_id,
                publication: None,
                replies: vec![reply],
            }),
        }
        true
    }

    /// Answers what was ordered and will not be done, since the collector stops.
    pub(super) fn refuse(&mut self, orders: &mut mpsc::Receiver<Order>) {
        if let Some(request_id) = self.commanding.take() {
            self.pending.commands.push(CommandReport {
                request_id,
                publication: Some(Publication::Unknown {
                    reason: "the inspector stopped while the command was being published"
                        .to_owned(),
                }),
                replies: Vec::new(),
            });
        }
        while let Ok(order) = orders.try_recv() {
            // The rest is asked for again.
            let Order::Command(command) = order else {
                continue;
            };
            self.pending.commands.push(CommandReport::not_published(
                command.request_id,
                "the inspector stopped before the command was published",
            ));
        }
    }
}

/// Whether it changes what a worker is asked for afterwards: its pool and its queues.
fn changes_worker(method: &Method) -> bool {
    let Method::Control(control) = method else {
        return false;
    };
    match control {
        Control::PoolGrow
        | Control::PoolShrink
        | Control::PoolRestart
        | Control::Autoscale
        | Control::AddConsumer
        | Control::CancelConsumer => true,
        // These change what events tell of, or what nobody can see, or nothing.
        Control::RateLimit
        | Control::TimeLimit
        | Control::EnableEvents
        | Control::DisableEvents
        | Control::Revoke
        | Control::Terminate
        | Control::RevokeByStampedHeaders
        | Control::Heartbeat
        | Control::Shutdown => false,
    }
}

/// The name under which it is counted; those of apps' own commands are not bounded.
fn metric(method: &Method) -> &'static str {
    match method {
        Method::Inspect(inspect) => inspect.name(),
        Method::Control(control) => control.name(),
        Method::Custom(_) => "custom",
    }
}
