//! Every event that workers publish, heard by a subscriber of its own.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use celeriac_tests::resp::Value as Resp;
use celeriac_tests::{Redis, eventually};
use serde_json::Value;

/// A channel of our own: what was published before a message on it has been heard when that is.
const MARK: &str = "control-test-mark";

/// A running subscriber.
pub(crate) struct Ears {
    events: Arc<Mutex<Vec<Value>>>,
    marks: Arc<Mutex<usize>>,
    socket: TcpStream,
    reader: Option<JoinHandle<()>>,
}

impl Ears {
    pub(crate) fn open(redis: &Redis) -> Self {
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
                    lock(&to).extend(read(payload));
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

    /// What a worker said, of everything that was published before this is called.
    pub(crate) async fn heard(&self, redis: &Redis, hostname: &str) -> Vec<Value> {
        let before = *lock(&self.marks);
        redis.cli(&["PUBLISH", MARK, "mark"]);
        eventually("the mark is heard", Duration::from_mins(1), async || {
            let now = *lock(&self.marks);
            if now > before { Ok(()) } else { Err("not yet") }
        })
        .await;
        let all = lock(&self.events);
        let its = all.iter().filter(|event| event["hostname"] == hostname);
        its.cloned().collect()
    }
}

impl Drop for Ears {
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

/// The events in a message.
fn read(payload: &str) -> Vec<Value> {
    let Ok(envelope) = serde_json::from_str::<Value>(payload) else {
        return Vec::new();
    };
    let body = envelope["body"].as_str().unwrap_or_default();
    let body = base64_simd::STANDARD
        .decode_to_vec(body)
        .unwrap_or_default();
    match serde_json::from_slice(&body) {
        Ok(Value::Array(all)) => all,
        Ok(one) => vec![one],
        Err(_) => Vec::new(),
    }
}
