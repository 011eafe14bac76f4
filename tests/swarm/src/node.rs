//! One simulated worker: its subscription, its heartbeats, its tasks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::answers::{Life, TaskEvents};
use super::control::{self, Control};
use super::count::{Counters, count};
use super::fleet::FleetBuilder;
use super::load::{Load, Step};
use super::recorded::Recorded;
use super::request::Request;
use super::speaker::{Exchange, Headers, Saying, Speaker};
use super::truth::{Told, Truth};

/// Celery's heartbeat interval.
const HEARTBEAT_SECONDS: f64 = 2.0;
/// A real worker says that it is on line this long before it listens to remote control, or longer.
const DEAF_AT_FIRST: Duration = Duration::from_millis(200);
/// Pause before the broker is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(24);

/// What a test has a worker do.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    Work(f64),
    Restart,
    Reconnect,
    Stop,
}

/// What workers of a fleet share.
pub(crate) struct Shared {
    pub(crate) exchange: control::Exchange,
    pub(crate) speaker: Speaker,
    pub(crate) counters: Arc<Counters>,
    /// `None` when only counts are kept.
    pub(crate) truth: Option<Arc<Mutex<Truth>>>,
}

pub(crate) struct Node {
    life: Life,
    /// Its place in the fleet.
    number: usize,
    heartbeats: bool,
    started_with_events: bool,
    shared: Arc<Shared>,
    load: Load,
    chance: fastrand::Rng,
    beat: Instant,
}

/// Why a worker's subscription is over.
enum Over {
    Lost,
    Restarted,
    Ended,
}

impl Node {
    pub(crate) fn new(
        number: usize,
        name: String,
        fleet: &FleetBuilder,
        shared: Arc<Shared>,
    ) -> Self {
        // Each worker has its own chance, the same in every run.
        let own = name.bytes().fold(fleet.seed, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut chance = fastrand::Rng::with_seed(own);
        let pid = chance.u64(1_000..30_000);
        let events = as_started(fleet.events);
        let queues = fleet.queues.clone();
        let recorded = if fleet.broker.is_redis() {
            Recorded::Redis
        } else {
            Recorded::RabbitMq
        };
        Self {
            life: Life::new(recorded, name, pid, events, queues),
            number,
            heartbeats: fleet.heartbeats,
            started_with_events: fleet.events,
            shared,
            load: Load::new(own),
            chance,
            beat: Instant::now(),
        }
    }

    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            self.tell("worker-online").await;
            // Heartbeats of a fleet that starts together do not stay together.
            self.beat = Instant::now() + self.beat_after();
            tokio::time::sleep(DEAF_AT_FIRST).await;
            let shared = Arc::clone(&self.shared);
            let (name, queues) = (&self.life.name, &self.life.queues);
            let listens = shared
                .exchange
                .listen(self.number, name, queues, &shared.counters);
            let over = match listens.await {
                Ok(mut control) => {
                    let over = self.attend(&mut control, &mut orders).await;
                    control.end().await;
                    over
                }
                Err(_) => Over::Lost,
            };
            match over {
                Over::Lost => tokio::time::sleep(AGAIN).await,
                Over::Restarted => {
                    let life = &self.life;
                    let (name, queues) = (life.name.clone(), life.queues.clone());
                    let events = as_started(self.started_with_events);
                    self.life = Life::new(life.recorded, name, life.pid + 10, events, queues);
                    self.load.forget();
                    let name = &self.life.name;
                    self.note(|truth| truth.answered.remove(name));
                }
                Over::Ended => {
                    self.tell("worker-offline").await;
                    return;
                }
            }
        }
    }

    /// Writes into the truth, if it is kept.
    fn note<T>(&self, write: impl FnOnce(&mut Truth) -> T) {
        if let Some(truth) = &self.shared.truth {
            write(&mut truth.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    async fn attend(&mut self, control: &mut Control, orders: &mut mpsc::Receiver<Order>) -> Over {
        loop {
            let due = self.load.due().unwrap_or_else(|| Instant::now() + NEVER);
            tokio::select! {
                message = control.next() => match message {
                    Some(Some(request)) => if self.on_request(&request).await { return Over::Ended },
                    // What a test publishes to count the subscribers is no request.
                    Some(None) => {}
                    None => return Over::Lost,
                },
                () = sleep_until(self.beat.into()), if self.heartbeats => {
                    self.tell("worker-heartbeat").await;
                    self.beat = Instant::now() + self.beat_after();
                }
                () = sleep_until(due.into()) => self.on_steps().await,
                order = orders.recv() => match order {
                    Some(Order::Work(per_second)) => self.load.set(Instant::now(), per_second),
                    Some(Order::Restart) => return Over::Restarted,
                    Some(Order::Reconnect) => return Over::Lost,
                    Some(Order::Stop) | None => return Over::Ended,
                },
            }
        }
    }

    /// Heartbeats drift a little, since nothing is punctual.
    fn beat_after(&mut self) -> Duration {
        Duration::from_secs_f64(HEARTBEAT_SECONDS * (0.95 + 0.1 * self.chance.f64()))
    }

    /// Answers a request, if it is meant; says whether the worker ends.
    async fn on_request(&mut self, request: &Request) -> bool {
        count(&self.shared.counters.delivered);
        let name = &self.life.name;
        self.note(|truth| {
            truth
                .delivered
                .entry(name.clone())
                .or_default()
                .push(now_micros());
        });
        if !request.is_for(name) {
            return false;
        }
        count(&self.shared.counters.meant);
        let method = request.method.as_str();
        self.note(|truth| {
            truth
                .answered
                .entry(name.clone())
                .or_default()
                .insert(method.to_owned())
        });
        let answered = self.life.answer(method, &request.arguments);
        if answered.beats {
            // The odd shape of a heartbeat that was asked for (`celery-wire`).
            let fields =
                json!({"freq": 5, "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"});
            self.tell_with("worker-heartbeat", fields).await;
        }
        if let (Some(value), Some((exchange, key))) = (answered.value, &request.reply_to) {
            let saying = Saying {
                exchange: Exchange::Named(exchange.clone()),
                routing_key: key.clone(),
                headers: Headers::Reply {
                    ticket: request.ticket.clone(),
                    clock: self.life.clock,
                },
                body: json!({ self.life.name.as_str(): value }).to_string(),
                told: None,
            };
            self.shared.speaker.say(saying).await;
        }
        answered.ends
    }

    /// Sends a worker event with its counters.
    async fn tell(&mut self, kind: &'static str) {
        let fields = json!({
            "freq": HEARTBEAT_SECONDS, "active": self.life.active.len(), "processed": self.life.processed(),
            "loadavg": [0.5, 0.25, 0.125],
            "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux",
        });
        self.tell_with(kind, fields).await;
    }

    async fn tell_with(&mut self, kind: &'static str, fields: Value) {
        let event = self.event(kind, fields);
        self.send(&kind.replace('-', "."), &event, None).await;
    }

    /// Does what tasks have come to. Each event is a message of its own, an array of one, as by far most are.
    async fn on_steps(&mut self) {
        for step in self.load.steps(Instant::now()) {
            self.count(&step);
            if self.life.events == TaskEvents::Off {
                continue;
            }
            let event = self.event(step.event, fields(&step));
            let told = Told {
                id: step.id,
                name: step.name,
                worker: self.life.name.clone(),
                event: step.event,
            };
            self.send("task.multi", &json!([event]), Some(told)).await;
        }
    }

    fn count(&mut self, step: &Step) {
        match step.event {
            "task-received" => {}
            "task-started" => {
                *self.life.totals.entry(step.name).or_default() += 1;
                let running = (step.name, now_seconds());
                self.life.active.insert(step.id.clone(), running);
            }
            _ => {
                self.life.active.remove(&step.id);
            }
        }
    }

    /// An event with the fields that all have, in Celery's order.
    fn event(&mut self, kind: &str, fields: Value) -> Value {
        let mut event = Map::new();
        event.insert("hostname".to_owned(), json!(self.life.name));
        event.insert("utcoffset".to_owned(), json!(0.0));
        event.insert("pid".to_owned(), json!(self.life.pid));
        event.insert("clock".to_owned(), json!(self.life.tick()));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        event.insert("timestamp".to_owned(), json!(now_seconds()));
        event.insert("type".to_owned(), json!(kind));
        Value::Object(event)
    }

    async fn send(&self, routing_key: &str, body: &Value, told: Option<Told>) {
        let saying = Saying {
            exchange: Exchange::Events,
            routing_key: routing_key.to_owned(),
            headers: Headers::Event {
                hostname: self.life.name.clone(),
            },
            body: body.to_string(),
            told,
        };
        self.shared.speaker.say(saying).await;
    }
}

fn as_started(events: bool) -> TaskEvents {
    if events {
        TaskEvents::Always
    } else {
        TaskEvents::Off
    }
}

/// What an event of a task has of its own.
fn fields(step: &Step) -> Value {
    let id = &step.id;
    match step.event {
        "task-received" => json!({
            "uuid": id, "name": step.name, "args": "()", "kwargs": "{}", "root_id": id, "parent_id": null,
            "retries": step.retries, "eta": null, "expires": null,
        }),
        "task-succeeded" => json!({"uuid": id, "result": "3", "runtime": 0.25}),
        "task-failed" | "task-retried" => json!({
            "uuid": id, "exception": "ValueError('boom')", "traceback": "Traceback\nValueError: boom\n",
        }),
        "task-revoked" => json!({"uuid": id, "terminated": false, "signum": null, "expired": true}),
        _ => json!({"uuid": id}),
    }
}

fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

fn now_seconds() -> f64 {
    now().as_secs_f64()
}

fn now_micros() -> i64 {
    i64::try_from(now().as_micros()).unwrap_or(i64::MAX)
}
