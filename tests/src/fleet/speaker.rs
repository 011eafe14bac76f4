//! What all simulated workers send, over one connection: the broker counts subscribers, not who publishes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::truth::{Told, Truth};

/// Messages that wait to be sent; workers wait beyond.
const SAYINGS_MAX: usize = 10_000;
/// Messages in one write.
const TOGETHER: usize = 256;
/// Pause before the broker is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Something to send.
pub(super) enum Saying {
    /// An event message on a channel, and the task event in it.
    Event {
        channel: String,
        payload: String,
        told: Option<Told>,
    },
    /// A reply by the default exchange: the routing key is the list.
    Reply { key: String, payload: String },
    /// A reply by an exchange, whose table of bindings says which list.
    Routed {
        exchange: String,
        routing_key: String,
        payload: String,
    },
}

/// Sends for all; cheap to clone.
#[derive(Clone)]
pub(super) struct Speaker(mpsc::Sender<Saying>);

impl Speaker {
    pub(super) fn start(address: SocketAddr, truth: Arc<Mutex<Truth>>) -> Self {
        let (sender, mut sayings) = mpsc::channel(SAYINGS_MAX);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            let mut wire = None;
            while !batch.is_empty() || sayings.recv_many(&mut batch, TOGETHER).await > 0 {
                let Some(open) = &mut wire else {
                    wire = Wire::open(address).await.ok();
                    if wire.is_none() {
                        tokio::time::sleep(AGAIN).await;
                    }
                    continue;
                };
                // Told before and not sent, or sent and not told, would make the truth wrong.
                let sent = speak(open, &mut batch, &truth).await;
                sent.expect("a test with a fleet keeps its broker");
            }
        });
        Self(sender)
    }

    pub(super) async fn say(&self, saying: Saying) {
        // The other end is gone when the fleet is.
        let _ = self.0.send(saying).await;
    }
}

async fn speak(
    wire: &mut Wire,
    batch: &mut Vec<Saying>,
    truth: &Arc<Mutex<Truth>>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for saying in batch.drain(..) {
        match saying {
            Saying::Event {
                channel,
                payload,
                told,
            } => {
                encode(&mut bytes, &["PUBLISH", &channel, &payload]);
                expected.push(told);
            }
            Saying::Reply { key, payload } => {
                encode(&mut bytes, &["LPUSH", &key, &payload]);
                expected.push(None);
            }
            Saying::Routed {
                exchange,
                routing_key,
                payload,
            } => {
                for key in wire.routes(&exchange, &routing_key).await? {
                    encode(&mut bytes, &["LPUSH", &key, &payload]);
                    expected.push(None);
                }
            }
        }
    }
    wire.write.write_all(&bytes).await?;
    for told in expected {
        let answer = wire.number().await?;
        if let Some(told) = told {
            let mut truth = truth.lock().unwrap_or_else(PoisonError::into_inner);
            truth.tell(told, answer);
        }
    }
    Ok(())
}

/// A connection that speaks RESP2, as far as it is needed here.
pub(super) struct Wire {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Wire {
    pub(super) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Self {
            read: BufReader::new(read),
            write,
        })
    }

    /// Sends a command without waiting for the answer.
    pub(super) async fn send(&mut self, words: &[&str]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        encode(&mut bytes, words);
        self.write.write_all(&bytes).await
    }

    /// The next answer that is a list: its texts.
    pub(super) async fn list(&mut self) -> std::io::Result<Vec<String>> {
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
