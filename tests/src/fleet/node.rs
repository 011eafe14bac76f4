//! One simulated worker: its subscription, its heartbeats, its tasks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::FleetBuilder;
use super::answers::{Life, TaskEvents};
use super::load::{Load, Step};
use super::speaker::{Saying, Speaker, Wire};
use super::truth::{Told, Truth};

/// Celery's heartbeat interval.
const HEARTBEAT_SECONDS: f64 = 2.0;
/// A real worker says that it is on line this long before it listens to remote control, or longer.
const DEAF_AT_FIRST: Duration = Duration::from_millis(200);
/// Pause before the broker is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(24);

/// Requests read ahead.
const REQUESTS_MAX: usize = 16;

/// What a test has a worker do.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Work(f64),
    Restart,
    Reconnect,
    Stop,
}

pub(super) struct Node {
    life: Life,
    heartbeats: bool,
    started_with_events: bool,
    address: SocketAddr,
    speaker: Speaker,
    truth: Arc<Mutex<Truth>>,
    load: Load,
    chance: fastrand::Rng,
    beat: Instant,
}

/// A subscription to remote control; its connection closes with it.
struct Control {
    requests: mpsc::Receiver<Vec<String>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Why a worker's subscription is over.
enum Over {
    Lost,
    Restarted,
    Ended,
}

impl Node {
    pub(super) fn new(
        name: String,
        fleet: &FleetBuilder,
        speaker: Speaker,
        truth: Arc<Mutex<Truth>>,
    ) -> Self {
        // Each worker has its own chance, the same in every run.
        let own = name.bytes().fold(fleet.seed, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut chance = fastrand::Rng::with_seed(own);
        let pid = chance.u64(1_000..30_000);
        let events = as_started(fleet.events);
        let queues = fleet.queues.clone();
        Self {
            life: Life::new(name, pid, events, queues),
            heartbeats: fleet.heartbeats,
            started_with_events: fleet.events,
            address: fleet.address,
            speaker,
            truth,
            load: Load::new(own),
            chance,
            beat: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            self.tell("worker-online").await;
            // Heartbeats of a fleet that starts together do not stay together.
            self.beat = Instant::now() + self.beat_after();
            tokio::time::sleep(DEAF_AT_FIRST).await;
            let over = match self.subscribe().await {
                Ok(mut control) => self.attend(&mut control, &mut orders).await,
                Err(_) => Over::Lost,
            };
            match over {
                Over::Lost => tokio::time::sleep(AGAIN).await,
                Over::Restarted => {
                    let life = &self.life;
                    let (name, queues) = (life.name.clone(), life.queues.clone());
                    let events = as_started(self.started_with_events);
                    self.life = Life::new(name, life.pid + 10, events, queues);
                    self.load.forget();
                    self.truth().answered.remove(&self.life.name);
                }
                Over::Ended => {
                    self.tell("worker-offline").await;
                    return;
                }
            }
        }
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn subscribe(&self) -> std::io::Result<Control> {
        let mut wire = Wire::open(self.address).await?;
        wire.send(&["PSUBSCRIBE", "/0.celery.pidbox"]).await?;
        wire.list().await?;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let reader = tokio::spawn(async move {
            while let Ok(message) = wire.list().await {
                if sender.send(message).await.is_err() {
                    break;
                }
            }
        });
        Ok(Control { requests, reader })
    }

    async fn attend(&mut self, control: &mut Control, orders: &mut mpsc::Receiver<Order>) -> Over {
        loop {
            let due = self.load.due().unwrap_or_else(|| Instant::now() + NEVER);
            tokio::select! {
                message = control.requests.recv() => match message {
                    Some(message) => if self.on_request(&message).await { return Over::Ended },
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
    async fn on_request(&mut self, message: &[String]) -> bool {
        let envelope = message
            .get(3)
            .and_then(|text| serde_json::from_str(text).ok());
        // What a test publishes to count the subscribers is no request.
        let Some(request) = envelope.as_ref().and_then(body) else {
            return false;
        };
        let name = self.life.name.clone();
        self.truth()
            .delivered
            .entry(name)
            .or_default()
            .push(now_micros());
        let named = |names: &Vec<Value>| {
            names.is_empty() || names.iter().any(|name| *name == *self.life.name)
        };
        if !request["destination"].as_array().is_none_or(named) {
            return false;
        }
        let method = request["method"].as_str().unwrap_or_default();
        let answered = self.life.answer(method, &request["arguments"]);
        let name = self.life.name.clone();
        self.truth()
            .answered
            .entry(name)
            .or_default()
            .insert(method.to_owned());
        if answered.beats {
            // The odd shape of a heartbeat that was asked for (`celery-wire`).
            let fields =
                json!({"freq": 5, "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"});
            self.tell_with("worker-heartbeat", fields).await;
        }
        let reply_to = &request["reply_to"];
        if let (Some(value), Some(key)) = (answered.value, reply_to["routing_key"].as_str()) {
            let exchange = reply_to["exchange"].as_str().unwrap_or_default();
            self.reply(exchange, key, &request["ticket"], &value).await;
        }
        answered.ends
    }

    async fn reply(&mut self, exchange: &str, key: &str, ticket: &Value, value: &Value) {
        let headers = json!({"ticket": ticket, "clock": self.life.clock});
        let body = json!({ self.life.name.as_str(): value });
        let payload = envelope(&body, &headers, exchange, key);
        let key = key.to_owned();
        let saying = if exchange.is_empty() {
            Saying::Reply { key, payload }
        } else {
            let exchange = exchange.to_owned();
            Saying::Routed {
                exchange,
                routing_key: key,
                payload,
            }
        };
        self.speaker.say(saying).await;
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
        let headers = json!({"hostname": self.life.name});
        let payload = envelope(body, &headers, "celeryev", routing_key);
        let channel = format!("/0.celeryev/{routing_key}");
        let saying = Saying::Event {
            channel,
            payload,
            told,
        };
        self.speaker.say(saying).await;
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

/// kombu's envelope around a JSON body.
fn envelope(body: &Value, headers: &Value, exchange: &str, routing_key: &str) -> String {
    json!({
        "body": base64_simd::STANDARD.encode_to_string(body.to_string()),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": exchange, "routing_key": routing_key},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": uuid::Uuid::new_v4().to_string(),
        },
    })
    .to_string()
}

/// The JSON body of an envelope.
pub(super) fn body(envelope: &Value) -> Option<Value> {
    let body = envelope["body"].as_str()?;
    let body = base64_simd::STANDARD.decode_to_vec(body).ok()?;
    serde_json::from_slice(&body).ok()
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
