//! Redis, as far as workers speak it: subscriptions to remote control, events, replies. RESP2.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::broker::Address;
use super::request::{Reading, Request};
use super::speaker::{Exchange, Saying};

/// Requests read ahead.
const REQUESTS_MAX: usize = 16;
/// Read at once. Each worker has one, and most of the time nothing is in it.
const BUFFER_BYTES: usize = 1024;

/// A subscription to remote control; its connection closes with it.
pub(crate) struct Ear {
    requests: mpsc::Receiver<Option<Arc<Request>>>,
    reader: JoinHandle<()>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Ear {
    pub(crate) async fn open(address: &Address, reading: Arc<Reading>) -> std::io::Result<Self> {
        let mut wire = Wire::open(address).await?;
        let channel = format!("/{}.celery.pidbox", address.space);
        wire.send(&["PSUBSCRIBE", &channel]).await?;
        wire.list().await?;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let reader = tokio::spawn(async move {
            while let Ok(message) = wire.list().await {
                let payload = message.get(3).map_or("", String::as_str);
                if sender
                    .send(reading.read(payload.as_bytes(), body))
                    .await
                    .is_err()
                {
                    break;
                }
            }
        });
        Ok(Self { requests, reader })
    }

    /// The next message, a request or not; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Option<Arc<Request>>> {
        self.requests.recv().await
    }
}

/// Publishes for all workers.
pub(crate) struct Mouth {
    wire: Wire,
    database: String,
}

impl Mouth {
    pub(crate) async fn open(address: &Address) -> std::io::Result<Self> {
        let mut wire = Wire::open(address).await?;
        if address.space != "0" {
            wire.send(&["SELECT", &address.space]).await?;
            wire.okay().await?;
        }
        let database = address.space.clone();
        Ok(Self { wire, database })
    }

    /// Sends them in order; `taken` gets each with how many got it, once Redis has it.
    pub(crate) async fn say(
        &mut self,
        batch: &[Saying],
        mut taken: impl FnMut(usize, u64),
    ) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (number, saying) in batch.iter().enumerate() {
            let key = &saying.routing_key;
            let payload = envelope(saying);
            match saying.exchange {
                Exchange::Events => {
                    let channel = format!("/{}.celeryev/{key}", self.database);
                    encode(&mut bytes, &["PUBLISH", &channel, &payload]);
                    expected.push(number);
                }
                Exchange::Named(ref exchange) if !exchange.is_empty() => {
                    for key in self.wire.routes(exchange, key).await? {
                        encode(&mut bytes, &["LPUSH", &key, &payload]);
                        expected.push(number);
                    }
                }
                // The default exchange: the routing key is the list.
                Exchange::Named(_) => {
                    encode(&mut bytes, &["LPUSH", key, &payload]);
                    expected.push(number);
                }
            }
        }
        self.wire.write.write_all(&bytes).await?;
        for number in expected {
            let receivers = self.wire.number().await?;
            taken(number, u64::try_from(receivers).unwrap_or_default());
        }
        Ok(())
    }
}

/// kombu's envelope around a JSON body.
fn envelope(saying: &Saying) -> String {
    json!({
        "body": base64_simd::STANDARD.encode_to_string(&saying.body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": saying.headers.json(),
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": saying.exchange.name(), "routing_key": saying.routing_key},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": uuid::Uuid::new_v4().to_string(),
        },
    })
    .to_string()
}

/// The JSON body of an envelope. What a test publishes to count subscribers is none.
pub(crate) fn body(envelope: &[u8]) -> Option<Value> {
    let envelope: Value = serde_json::from_slice(envelope).ok()?;
    let body = envelope["body"].as_str()?;
    let body = base64_simd::STANDARD.decode_to_vec(body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// A connection.
struct Wire {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Wire {
    async fn open(address: &Address) -> std::io::Result<Self> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let read = BufReader::with_capacity(BUFFER_BYTES, read);
        let mut wire = Self { read, write };
        let (user, password) = (address.user.as_str(), address.password.as_str());
        if !password.is_empty() {
            let words = ["AUTH", user, password];
            // Servers before 6 know no users.
            let words = if user.is_empty() {
                vec!["AUTH", password]
            } else {
                words.to_vec()
            };
            wire.send(&words).await?;
            wire.okay().await?;
        }
        Ok(wire)
    }

    /// Sends a command without waiting for the answer.
    async fn send(&mut self, words: &[&str]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        encode(&mut bytes, words);
        self.write.write_all(&bytes).await
    }

    /// The next answer that is a list: its texts.
    async fn list(&mut self) -> std::io::Result<Vec<String>> {
        let length = self.header('*').await?;
        let mut texts = Vec::new();
        for _ in 0..length {
            let line = self.line().await?;
            // Numbers (of `psubscribe`) are texts too.
            let Some(size) = line.strip_prefix('$') else {
                texts.push(line);
                continue;
            };
            let size: usize = size.parse().map_err(std::io::Error::other)?;
            let mut bytes = vec![0; size + 2];
            self.read.read_exact(&mut bytes).await?;
            bytes.truncate(size);
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(texts)
    }

    async fn number(&mut self) -> std::io::Result<i64> {
        self.header(':').await
    }

    async fn okay(&mut self) -> std::io::Result<()> {
        match self.line().await?.as_str() {
            "+OK" => Ok(()),
            refusal => Err(std::io::Error::other(format!("Redis says {refusal}"))),
        }
    }

    /// The lists that an exchange routes a key to (kombu's `_kombu.binding.EXCHANGE`).
    async fn routes(&mut self, exchange: &str, key: &str) -> std::io::Result<Vec<String>> {
        self.send(&["SMEMBERS", &format!("_kombu.binding.{exchange}")])
            .await?;
        let bindings = self.list().await?;
        let queue = |binding: &String| {
            let mut fields = binding.split("\u{6}\u{16}");
            let bound = fields.next()? == key;
            bound.then(|| fields.nth(1).unwrap_or_default().to_owned())
        };
        Ok(bindings.iter().filter_map(queue).collect())
    }

    async fn header(&mut self, kind: char) -> std::io::Result<i64> {
        let line = self.line().await?;
        line.strip_prefix(kind)
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| std::io::Error::other(format!("not {kind}: {line}")))
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.read.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn encode(bytes: &mut Vec<u8>, words: &[&str]) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}
