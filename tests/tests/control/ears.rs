//! Every event that workers publish, heard by a subscriber of its own.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use celeriac_tests::resp::Value as Resp;
use celeriac_tests::{Redis, VirtualHost, eventually};
use serde_json::{Value, json};

use crate::broker::Broker;

/// A channel of our own: what was published before a message on it has been heard when that is.
const MARK: &str = "control-test-mark";

/// A queue of our own, of all events.
const QUEUE: &str = "control-test-ears";

/// Where events are heard.
pub(crate) enum Ears {
    Redis(Subscriber),
    /// What was taken out of the queue so far.
    RabbitMq(Mutex<Vec<Value>>),
}

/// A running subscriber.
pub(crate) struct Subscriber {
    events: Arc<Mutex<Vec<Value>>>,
    marks: Arc<Mutex<usize>>,
    socket: TcpStream,
    reader: Option<JoinHandle<()>>,
}

impl Ears {
    pub(crate) fn open(broker: &Broker) -> Self {
        let Some(host) = &broker.host else {
            return Self::Redis(Subscriber::open(&broker.results));
        };
        let api = host.node().api();
        let host = host.name();
        let exchange = json!({"type": "topic", "durable": true});
        api.put(&format!("/api/exchanges/{host}/celeryev"), &exchange)
            .expect("a worker declares it so");
        api.put(
            &format!("/api/queues/{host}/{QUEUE}"),
            &json!({"durable": true}),
        )
        .expect("the virtual host is new");
        let binding = json!({"routing_key": "#"});
        api.post(
            &format!("/api/bindings/{host}/e/celeryev/q/{QUEUE}"),
            &binding,
        )
        .expect("both are there");
        Self::RabbitMq(Mutex::default())
    }

    /// What a worker said, of everything that the broker had before this is called.
    pub(crate) async fn heard(&self, broker: &Broker, hostname: &str) -> Vec<Value> {
        let events = match (self, &broker.host) {
            (Self::RabbitMq(events), Some(host)) => {
                // Locked while it takes them, so that nobody looks for what is on its way to here.
                let mut events = lock(events);
                events.extend(taken(host));
                events
            }
            (Self::Redis(subscriber), None) => {
                subscriber.marked(&broker.results).await;
                lock(&subscriber.events)
            }
            _ => unreachable!("they were opened for this broker"),
        };
        let its = events.iter().filter(|event| event["hostname"] == hostname);
        its.cloned().collect()
    }
}

/// Takes all events out of the queue.
fn taken(host: &VirtualHost) -> Vec<Value> {
    let wanted = json!({"count": 100_000, "ackmode": "ack_requeue_false", "encoding": "auto"});
    let path = format!("/api/queues/{}/{QUEUE}/get", host.name());
    let got = host.node().api().post(&path, &wanted);
    let got = got.expect("management answers");
    let messages = got.as_array().expect("a list").iter();
    let bodies = messages.filter_map(|message| message["payload"].as_str());
    bodies.flat_map(|body| read(body.as_bytes())).collect()
}

impl Subscriber {
    fn open(redis: &Redis) -> Self {
        let mut connection = redis.connect().expect("the server was just reached");
        let socket = connection.closer().expect("a socket can be shared");
        connection
            .command(&["PSUBSCRIBE", "/0.celeryev/*", MARK])
            .expect("the default user may subscribe");
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let marks: Arc<Mutex<usize>> = Arc::default();
        let (to, marked) = (Arc::clone(&events), Arc::clone(&marks));
        let reader = std::thread::spawn(move || {
            // An error is the end of the server or of this test.
            while let Ok(Resp::List(parts)) = connection.read_patiently() {
                let [_, _, Resp::Text(channel), Resp::Text(payload)] = parts.as_slice() else {
                    continue;
                };
                if channel == MARK {
                    *lock(&marked) += 1;
                } else {
                    lock(&to).extend(open(payload));
                }
            }
        });
        Self {
            events,
            marks,
            socket,
            reader: Some(reader),
        }
    }

    /// Waits until what was published before has come.
    async fn marked(&self, redis: &Redis) {
        let before = *lock(&self.marks);
        redis.cli(&["PUBLISH", MARK, "mark"]);
        eventually("the mark is heard", Duration::from_mins(1), async || {
            let now = *lock(&self.marks);
            if now > before { Ok(()) } else { Err("not yet") }
        })
        .await;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The events in a message of kombu's on Redis.
fn open(payload: &str) -> Vec<Value> {
    let Ok(envelope) = serde_json::from_str::<Value>(payload) else {
        return Vec::new();
    };
    let body = envelope["body"].as_str().unwrap_or_default();
    read(
        &base64_simd::STANDARD
            .decode_to_vec(body)
            .unwrap_or_default(),
    )
}

/// The events in a body.
fn read(body: &[u8]) -> Vec<Value> {
    match serde_json::from_slice(body) {
        Ok(Value::Array(all)) => all,
        Ok(one) => vec![one],
        Err(_) => Vec::new(),
    }
}
