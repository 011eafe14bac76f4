//! From the wire's batches to the fold's inputs: everything past here is checked and typed.

use celeriac_proto::v1;
use hashbrown::HashSet;

use super::event::{Event, Malformed};
use super::order;
use crate::engine::Batch;
use crate::state::gap::{Gap, GapCause};
use crate::state::input::{
    BrokerFacts, Depths, Input, Outcome, Outcomes, Queried, QueueDepth, Report, Snapshot, Stats,
    TaskEvent, TaskEventKind, TaskRequest, Unread, WorkerEvent, WorkerEventKind,
};
use crate::state::worker::ConsumedQueue;
use crate::state::{Micros, Symbol, TaskId};

/// Names kept by a session so that equal ones share memory; cleared when full. Apps have hundreds of names.
const SYMBOLS_MAX: usize = 8_192;

/// Turns batches into inputs; keeps the names it has seen.
#[derive(Default)]
pub struct Decoder {
    symbols: HashSet<Symbol, ahash::RandomState>,
}

impl Decoder {
    /// A batch; its inputs in the order in which they are to be folded: gaps and the inspector's report first, since
    /// they say how to read the rest.
    ///
    /// # Errors
    /// An event is none.
    pub fn batch(&mut self, batch: v1::Batch) -> Result<Batch, Malformed> {
        let v1::Batch {
            sequence,
            events,
            snapshots,
            depths,
            gaps,
            report,
            commands,
            results,
        } = batch;
        let mut inputs = Vec::with_capacity(events.len() + snapshots.len() + gaps.len() + 2);
        inputs.extend(gaps.into_iter().map(|gap| Input::Gap(self.gap(gap))));
        inputs.extend(report.map(|report| Input::Report(Box::new(self.report(report)))));
        for event in events {
            inputs.push(self.event(&event)?);
        }
        inputs.extend(
            snapshots
                .into_iter()
                .map(|s| Input::Snapshot(Box::new(self.snapshot(s)))),
        );
        inputs.extend(results.into_iter().map(|r| Input::Results(outcomes(r))));
        inputs.extend(depths.map(|depths| Input::Depths(self.depths(depths))));
        Ok(Batch {
            sequence,
            inputs,
            commands: commands.into_iter().map(order::report).collect(),
        })
    }

    fn symbol(&mut self, text: impl AsRef<str>) -> Symbol {
        let text = text.as_ref();
        if let Some(symbol) = self.symbols.get(text) {
            return symbol.clone();
        }
        if self.symbols.len() == SYMBOLS_MAX {
            self.symbols.clear();
        }
        let symbol = Symbol::from(text);
        self.symbols.insert(symbol.clone());
        symbol
    }

    fn name(&mut self, text: Option<impl AsRef<str>>) -> Option<Symbol> {
        text.map(|text| self.symbol(text))
    }

    fn event(&mut self, bytes: &[u8]) -> Result<Input, Malformed> {
        let event = Event::read(bytes)?;
        let worker_type = event.uuid.is_none() || event.kind.starts_with("worker-");
        Ok(if worker_type {
            Input::Worker(Box::new(self.worker_event(event)))
        } else {
            Input::Task(Box::new(self.task_event(event)))
        })
    }

    fn task_event(&mut self, event: Event<'_>) -> TaskEvent {
        let kind = match event.kind {
            "task-sent" => TaskEventKind::Sent,
            "task-received" => TaskEventKind::Received,
            "task-started" => TaskEventKind::Started,
            "task-succeeded" => TaskEventKind::Succeeded,
            "task-failed" => TaskEventKind::Failed,
            "task-retried" => TaskEventKind::Retried,
            "task-revoked" => TaskEventKind::Revoked,
            "task-rejected" => TaskEventKind::Rejected,
            _ => TaskEventKind::Custom,
        };
        let boxed = |text: Option<&str>| text.map(Box::from);
        TaskEvent {
            kind,
            event_type: self.symbol(event.kind),
            hostname: self.symbol(event.hostname),
            pid: event.pid,
            clock: event.clock,
            timestamp: event.timestamp,
            received: event.received_micros,
            id: TaskId::from(event.uuid.unwrap_or_default()),
            name: self.name(event.name),
            args: boxed(event.args),
            kwargs: boxed(event.kwargs),
            root_id: event.root_id.map(TaskId::from),
            parent_id: event.parent_id.map(TaskId::from),
            retries: event.retries,
            eta: event.eta.and_then(iso_8601),
            expires: event.expires.and_then(iso_8601),
            queue: self.name(event.queue),
            exchange: self.name(event.exchange),
            routing_key: self.name(event.routing_key),
            result: boxed(event.result),
            runtime: event.runtime,
            exception: boxed(event.exception),
            traceback: boxed(event.traceback),
            terminated: event.terminated,
            signum: boxed(event.signum),
            expired: event.expired,
            requeue: event.requeue,
            custom: each(event.custom, |(name, value)| (name.into(), value.into())),
            truncated: each(event.truncated, |(name, bytes)| (name.into(), bytes)),
            sanitized: each(event.sanitized, Box::from),
        }
    }

    fn worker_event(&mut self, event: Event<'_>) -> WorkerEvent {
        let kind = match event.kind {
            "worker-online" => WorkerEventKind::Online,
            "worker-heartbeat" => WorkerEventKind::Heartbeat,
            "worker-offline" => WorkerEventKind::Offline,
            _ => WorkerEventKind::Other,
        };
        WorkerEvent {
            kind,
            event_type: self.symbol(event.kind),
            hostname: self.symbol(event.hostname),
            pid: event.pid,
            clock: event.clock,
            timestamp: event.timestamp,
            received: event.received_micros,
            freq: event.freq,
            active: event.active,
            processed: event.processed,
            loadavg: event.loadavg,
            sw_ident: self.name(event.sw_ident),
            sw_ver: self.name(event.sw_ver),
            sw_sys: self.name(event.sw_sys),
        }
    }

    fn snapshot(&mut self, snapshot: v1::Snapshot) -> Snapshot {
        Snapshot {
            hostname: snapshot.hostname,
            asked: snapshot.asked_micros,
            received: snapshot.received_micros,
            stats: snapshot.stats.map(|stats| self.stats(stats)),
            queues: snapshot.queues.map(|list| self.queues(list)),
            active: snapshot.active.map(|list| self.requests(list)),
            reserved: snapshot.reserved.map(|list| self.requests(list)),
            scheduled: snapshot.scheduled.map(|list| self.requests(list)),
            cut: snapshot.cut,
            queried: snapshot.queried.map(|answer| self.queried(answer)),
            registered: snapshot.registered.map(|list| {
                list.names
                    .into_iter()
                    .map(|name| self.symbol(name))
                    .collect()
            }),
            configuration_json: snapshot.configuration_json.map(String::into_boxed_str),
            pong: snapshot.pong,
            unanswered: snapshot
                .unanswered
                .into_iter()
                .map(String::into_boxed_str)
                .collect(),
        }
    }

    fn stats(&mut self, stats: v1::Stats) -> Stats {
        let autoscaler = match (
            stats.autoscaler_max,
            stats.autoscaler_min,
            stats.autoscaler_current,
        ) {
            (Some(max), Some(min), current) => Some((max, min, current.unwrap_or_default())),
            _ => None,
        };
        let totals = stats
            .totals
            .into_iter()
            .map(|(name, n)| (self.symbol(name), n))
            .collect();
        Stats {
            pid: stats.pid,
            clock: stats.clock,
            uptime_seconds: stats.uptime_seconds,
            prefetch_count: stats.prefetch_count,
            pool_implementation: stats.pool_implementation.map(String::into_boxed_str),
            max_concurrency: stats.max_concurrency,
            processes: stats.processes,
            threads: stats.threads,
            autoscaler,
            peak_memory_bytes: stats.peak_memory_bytes,
            totals,
        }
    }

    fn queues(&mut self, list: v1::QueueList) -> Vec<ConsumedQueue> {
        let queue = |queue: v1::ConsumedQueueAnswer| ConsumedQueue {
            name: self.symbol(queue.name),
            exchange: self.symbol(queue.exchange),
            exchange_type: self.symbol(queue.exchange_type),
            routing_key: self.symbol(queue.routing_key),
            max_priority: queue.max_priority,
        };
        list.queues.into_iter().map(queue).collect()
    }

    fn requests(&mut self, list: v1::RequestList) -> Vec<TaskRequest> {
        let requests = list.requests.into_iter();
        requests.map(|request| self.request(request)).collect()
    }

    fn request(&mut self, request: v1::TaskRequest) -> TaskRequest {
        // With the default exchange the routing key is the queue's name; with another it need not be.
        let queue = match request.exchange.as_deref() {
            None | Some("") => request.routing_key,
            Some(_) => None,
        };
        TaskRequest {
            id: TaskId::from(request.id.as_str()),
            name: self.name(request.name.or(request.r#type)),
            args: request.args.map(String::into_boxed_str),
            kwargs: request.kwargs.map(String::into_boxed_str),
            time_start: request.time_start,
            queue: self.name(queue),
            eta: request.eta.as_deref().and_then(iso_8601),
        }
    }

    fn queried(&mut self, answer: v1::QueryAnswer) -> Queried {
        let tasks = answer.task_ids.iter();
        let found = answer.found.into_iter().filter_map(|task| {
            let runs = task.state() == v1::HeldState::Active;
            Some((runs, self.request(task.request?)))
        });
        Queried {
            tasks: tasks.map(|id| TaskId::from(id.as_str())).collect(),
            found: found.collect(),
        }
    }

    fn depths(&mut self, depths: v1::Depths) -> Depths {
        let queue = |queue: v1::QueueDepth| QueueDepth {
            name: self.symbol(queue.name),
            ready: queue.ready,
            priorities: queue
                .priorities
                .iter()
                .map(|depth| {
                    (
                        depth.priority,
                        u64::try_from(depth.ready).unwrap_or_default(),
                    )
                })
                .collect(),
            consumers: queue.consumers,
            unacked: queue.unacked,
            oldest: queue.oldest_micros,
        };
        Depths {
            read: depths.read_micros,
            queues: depths.queues.into_iter().map(queue).collect(),
            unacked_total: depths.unacked_total,
        }
    }

    fn gap(&mut self, gap: v1::Gap) -> Gap {
        let cause = match gap.cause() {
            v1::GapCause::Overflow => GapCause::Overflow,
            v1::GapCause::Unexplained => GapCause::Unexplained,
            v1::GapCause::Detached => GapCause::Detached,
            v1::GapCause::Reconnect | v1::GapCause::SlowReader | v1::GapCause::Unspecified => {
                GapCause::Reconnect
            }
        };
        Gap {
            cause,
            start: gap.start_time.map(from_timestamp).unwrap_or_default(),
            end: gap.end_time.map(from_timestamp),
            worker: self.name(gap.worker),
            missed_starts: gap.missed_starts,
            dropped_messages: gap.dropped_messages,
            detail: gap.detail.into_boxed_str(),
        }
    }

    fn report(&mut self, report: v1::InspectorReport) -> Report {
        let subscribed = report.subscription() == v1::SubscriptionState::Live;
        let rejection = |rejection: v1::Rejection| {
            let boxed =
                |nodes: Vec<String>| nodes.into_iter().map(String::into_boxed_str).collect();
            Unread {
                reason: rejection.reason.into_boxed_str(),
                count: rejection.count,
                sample: rejection.sample.map(String::into_boxed_str),
                senders: boxed(rejection.senders),
                repliers: boxed(rejection.repliers),
            }
        };
        Report {
            time: report.time_micros,
            subscribed,
            broker: report.broker.map(broker),
            messages: report.messages,
            events: report.events,
            rejections: report.rejections.into_iter().map(rejection).collect(),
            control_subscribers: report.control_subscribers,
            silent_nodes: report
                .silent_nodes
                .into_iter()
                .map(|node| self.symbol(node))
                .collect(),
            kept: report.events_kept,
        }
    }
}

/// Of nearly every event there is none, and a look is less than to collect nothing.
fn each<T, U>(
    all: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    make: impl FnMut(T) -> U,
) -> Vec<U> {
    let all = all.into_iter();
    if all.len() == 0 {
        return Vec::new();
    }
    all.map(make).collect()
}

/// What a result backend said.
fn outcomes(report: v1::ResultReport) -> Outcomes {
    let outcome = |result: v1::TaskResult| Outcome {
        id: TaskId::from(result.task_id.as_str()),
        status: result.status.into_boxed_str(),
        done: result.date_done.as_deref().and_then(iso_8601),
        result: result.result.map(String::into_boxed_str),
        exception: result.exception.map(String::into_boxed_str),
        traceback: result.traceback.map(String::into_boxed_str),
        truncated: (result.truncated.into_iter())
            .map(|(field, size)| (field.into_boxed_str(), size))
            .collect(),
    };
    Outcomes {
        configured: report.configured,
        outcomes: report.results.into_iter().map(outcome).collect(),
        error: report.error.map(String::into_boxed_str),
    }
}

/// A broker's facts as the fold keeps them.
pub(super) fn broker(broker: v1::Broker) -> BrokerFacts {
    BrokerFacts {
        endpoint: broker.endpoint.into_boxed_str(),
        transport: broker.transport.into_boxed_str(),
        version: broker.version.map(String::into_boxed_str),
        reachable: broker.reachable,
        unreachable_reason: broker.unreachable_reason.map(String::into_boxed_str),
        since: broker.since.map(from_timestamp).unwrap_or_default(),
    }
}

fn from_timestamp(timestamp: prost_types::Timestamp) -> Micros {
    timestamp
        .seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(timestamp.nanos) / 1_000)
}

/// Celery's `eta` and `expires`: ISO 8601 with an offset, or without one when an old producer means UTC.
fn iso_8601(text: &str) -> Option<Micros> {
    let timestamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    })?;
    Some(timestamp.as_microsecond())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn celerys_times_are_read_with_and_without_offset() {
        let utc = iso_8601("2026-11-22T11:46:07.984708+00:00");
        assert_eq!(utc, Some(1_795_347_967_984_708));
        assert_eq!(iso_8601("2026-11-22T12:46:07.984708+01:00"), utc);
        assert_eq!(iso_8601("2026-11-22T11:46:07.984708"), utc);
        assert_eq!(iso_8601("tomorrow"), None);
    }

    #[test]
    fn a_type_decides_whose_event_it_is() {
        let kind = |event_type: &str, uuid: Option<&str>| {
            let event = v1::Event {
                r#type: event_type.to_owned(),
                hostname: "celery@w1".to_owned(),
                uuid: uuid.map(str::to_owned),
                ..v1::Event::default()
            };
            match Decoder::default().event(&event.encode_to_vec()).unwrap() {
                Input::Task(event) => format!("task {:?}", event.kind),
                Input::Worker(event) => format!("worker {:?}", event.kind),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(kind("task-sent", Some("a")), "task Sent");
        assert_eq!(kind("task-progress", Some("a")), "task Custom");
        assert_eq!(kind("worker-heartbeat", None), "worker Heartbeat");
        assert_eq!(kind("worker-elect", None), "worker Other");
        assert_eq!(kind("deploy-done", None), "worker Other");
    }
}
