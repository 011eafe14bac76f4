//! What a simulated worker is, and its answers to remote control. Pure but for the recordings.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::recorded::Recorded;

/// Whether a worker sends task events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskEvents {
    /// Started with `-E`: it sends every group of events, so `disable_events` finds none to take out and does nothing.
    Always,
    /// Switched on by `enable_events`.
    On,
    /// Not.
    Off,
}

/// One life of a worker.
pub(crate) struct Life {
    pub(crate) recorded: Recorded,
    pub(crate) name: String,
    pub(crate) pid: u64,
    pub(crate) began: Instant,
    /// The logical clock that its events carry.
    pub(crate) clock: u64,
    pub(crate) events: TaskEvents,
    pub(crate) queues: Vec<String>,
    /// Tasks begun in this life, by name: `stats.total`, and in sum `processed`.
    pub(crate) totals: BTreeMap<&'static str, u64>,
    /// Tasks that run, by id: name and since when.
    pub(crate) active: BTreeMap<String, (&'static str, f64)>,
}

/// What a request leads to.
pub(crate) struct Answered {
    /// The value of the reply; `None` when there is no reply.
    pub(crate) value: Option<Value>,
    /// A `worker-heartbeat` is to be sent now.
    pub(crate) beats: bool,
    /// The worker ends.
    pub(crate) ends: bool,
}

impl Life {
    /// Begins a life: no tasks, no counters.
    pub(crate) fn new(
        recorded: Recorded,
        name: String,
        pid: u64,
        events: TaskEvents,
        queues: Vec<String>,
    ) -> Self {
        Self {
            recorded,
            name,
            pid,
            began: Instant::now(),
            clock: 0,
            events,
            queues,
            totals: BTreeMap::new(),
            active: BTreeMap::new(),
        }
    }

    /// Tasks begun in this life.
    pub(crate) fn processed(&self) -> u64 {
        self.totals.values().sum()
    }

    /// The next value of the logical clock.
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Does what a request asks.
    pub(crate) fn answer(&mut self, method: &str, arguments: &Value) -> Answered {
        let ends = method == "shutdown";
        Answered {
            beats: method == "heartbeat",
            value: (!ends).then(|| self.value(method, arguments)),
            ends,
        }
    }

    fn value(&mut self, method: &str, arguments: &Value) -> Value {
        match method {
            "stats" => self.stats(),
            "active" => self.active.keys().map(|id| self.task(id)).collect(),
            "reserved" | "scheduled" | "revoked" => json!([]),
            "query_task" => self.query(&arguments["ids"]),
            "active_queues" => self.queues.iter().map(|name| self.queue(name)).collect(),
            "clock" => json!({"clock": self.clock}),
            "hello" => json!({"revoked": [], "clock": self.tick()}),
            "enable_events" => json!({"ok": self.enable_events()}),
            "disable_events" => json!({"ok": self.disable_events()}),
            "add_consumer" => self.consume(&arguments["queue"], true),
            "cancel_consumer" => self.consume(&arguments["queue"], false),
            "heartbeat" => Value::Null,
            known if self.recorded.knows(known) => self.recorded.answer(known),
            unknown => json!({"error": format!("KeyError('{unknown}')")}),
        }
    }

    fn enable_events(&mut self) -> &'static str {
        if self.events == TaskEvents::Off {
            self.events = TaskEvents::On;
            return "task events enabled";
        }
        "task events already enabled"
    }

    fn disable_events(&mut self) -> &'static str {
        if self.events == TaskEvents::On {
            self.events = TaskEvents::Off;
            return "task events disabled";
        }
        "task events already disabled"
    }

    fn stats(&self) -> Value {
        let mut stats = self.recorded.answer("stats");
        stats["pid"] = json!(self.pid);
        stats["clock"] = json!(self.clock.to_string());
        stats["uptime"] = json!(self.began.elapsed().as_secs());
        stats["total"] = json!(self.totals);
        stats["pool"]["processes"] = json!([self.pid + 1, self.pid + 2]);
        stats
    }

    fn consume(&mut self, queue: &Value, add: bool) -> Value {
        let name = queue.as_str().unwrap_or_default().to_owned();
        self.queues.retain(|known| *known != name);
        if add {
            self.queues.push(name.clone());
            return json!({"ok": format!("add consumer {name}")});
        }
        json!({"ok": format!("no longer consuming from {name}")})
    }

    fn query(&self, ids: &Value) -> Value {
        let ids = match ids {
            Value::String(id) => vec![id.as_str()],
            other => other.as_array().map_or(Vec::new(), |ids| {
                ids.iter().filter_map(Value::as_str).collect()
            }),
        };
        let known = ids.into_iter().filter(|id| self.active.contains_key(*id));
        known
            .map(|id| (id.to_owned(), json!(["active", self.task(id)])))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Celery's description of a task that runs.
    fn task(&self, id: &str) -> Value {
        let (name, since) = self.active[id];
        // On RabbitMQ a message has one only if somebody gave it one.
        let priority = match self.recorded {
            Recorded::Redis => json!(0),
            Recorded::RabbitMq => Value::Null,
        };
        json!({
            "id": id, "name": name, "args": [], "kwargs": {}, "type": name, "hostname": self.name,
            "time_start": since, "acknowledged": true,
            "delivery_info": {"exchange": "", "routing_key": self.queues.first(), "priority": priority, "redelivered": false},
            "worker_pid": self.pid + 1,
        })
    }

    /// A queue as `active_queues` has it.
    fn queue(&self, name: &str) -> Value {
        let mut queue = self.recorded.answer("active_queues")[0].take();
        queue["name"] = json!(name);
        queue["routing_key"] = json!(name);
        queue["exchange"]["name"] = json!(name);
        queue
    }
}
