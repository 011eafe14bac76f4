//! Servers of Redis' kind, behind a proxy that breaks connections. The ways to one differ, what is on it does not.

use std::any::Any;
use std::marker::PhantomData;

use celeriac_inspector::transport::redis::RedisTransport;
use celeriac_inspector::wire::topology::{Topology, TransportOptions};
use celeriac_inspector::wire::url::{BrokerUrl, Protocol};
use celeriac_tests::redis::RedisBuilder;
use celeriac_tests::resp::{Connection, Value};
use celeriac_tests::{Proxy, Redis};
use serde_json::json;
use tokio::sync::Mutex;

use super::backend::{Backend, hurried};

mod sentinel;
mod standalone;
mod tls;
mod valkey;

/// A way to a server.
trait Way: Send + Sync + 'static {
    /// A server that runs, and how it is reached.
    fn pave() -> Paved;
}

/// A server, and how it is reached.
struct Paved {
    redis: Redis,
    /// What its connections go through.
    proxy: Proxy,
    url: String,
    /// The same with a wrong password, `s3cret`.
    strangers_url: String,
    options: Vec<String>,
    /// What else has to run.
    _beside: Box<dyn Any + Send + Sync>,
}

impl Paved {
    /// To a server, with a password, as its URL says.
    fn directly(server: RedisBuilder) -> Self {
        let redis = server.password("right").start();
        let proxy = Proxy::start(redis.address());
        Self {
            url: redis.url_of(proxy.address(), 0),
            strangers_url: format!("redis://:s3cret@{}/0", proxy.address()),
            options: Vec::new(),
            redis,
            proxy,
            _beside: Box::new(()),
        }
    }
}

/// A server behind a way.
struct Server<W> {
    paved: Paved,
    worker: Mutex<Option<Connection>>,
    way: PhantomData<W>,
}

/// A transport by URL and options.
fn transport(url: &str, options: &[String]) -> RedisTransport {
    let url = BrokerUrl::parse(url).expect("the URLs of these tests are valid");
    let options = TransportOptions::parse(options.iter().map(String::as_str));
    let topology = Topology::new(0, options.expect("so are their options"))
        .behind_sentinels(url.protocol() == Protocol::Sentinel);
    RedisTransport::with_patience(&url, topology, hurried()).expect("they are of Redis")
}

fn envelope(ticket: Option<&str>, body: &str) -> String {
    let headers = ticket.map_or(json!({}), |ticket| json!({"ticket": ticket}));
    json!({
        "body": base64_simd::STANDARD.encode_to_string(body), "content-encoding": "utf-8",
        "content-type": "application/json", "headers": headers,
        "properties": {"delivery_tag": "t", "delivery_info": {}, "body_encoding": "base64"},
    })
    .to_string()
}

/// Somebody sends an event to a channel.
fn one_event(redis: &Redis, channel: &str, text: &str) {
    redis.cli(&["PUBLISH", channel, &envelope(None, text)]);
}

impl<W: Way> Backend for Server<W> {
    type Transport = RedisTransport;

    async fn start() -> Self {
        let paved = tokio::task::spawn_blocking(W::pave);
        Self {
            paved: paved.await.expect("a server starts"),
            worker: Mutex::default(),
            way: PhantomData,
        }
    }

    async fn transport(&self) -> RedisTransport {
        transport(&self.paved.url, &self.paved.options)
    }

    fn stranger(&self) -> Option<(RedisTransport, &'static str)> {
        let stranger = transport(&self.paved.strangers_url, &self.paved.options);
        Some((stranger, "s3cret"))
    }

    async fn send_event(&self, routing_key: &str, body: &str) {
        let channel = format!("/0.celeryev/{routing_key}");
        let reached = self
            .paved
            .redis
            .cli(&["PUBLISH", &channel, &envelope(None, body)]);
        assert_eq!(reached, Value::Number(1));
    }

    async fn listen(&self) {
        let mut connection = self.paved.redis.connect().expect("the server runs");
        connection
            .command(&["SUBSCRIBE", "/0.celery.pidbox"])
            .expect("the server subscribes it");
        *self.worker.lock().await = Some(connection);
    }

    async fn heard(&self) -> String {
        let mut worker = self.worker.lock().await;
        let worker = worker.as_mut().expect("a worker listens");
        let pushed =
            tokio::task::block_in_place(|| worker.read_patiently()).expect("a request comes");
        let parts = pushed.texts();
        let request: serde_json::Value =
            serde_json::from_str(&parts[2]).expect("an envelope is JSON");
        let body = request["body"].as_str().expect("it has a body");
        let body = base64_simd::STANDARD.decode_to_vec(body);
        String::from_utf8(body.expect("base64")).expect("text")
    }

    async fn answer(&self, queue: &str, ticket: &str, body: &str) {
        self.paved
            .redis
            .cli(&["LPUSH", queue, &envelope(Some(ticket), body)]);
    }

    async fn fill(&self, queue: &str, messages: usize) {
        for _ in 0..messages {
            self.paved.redis.cli(&["LPUSH", queue, "task"]);
        }
    }

    async fn part(&self) {
        self.paved.proxy.refuse(true);
        self.paved.proxy.cut();
    }

    async fn mend(&self) {
        self.paved.proxy.refuse(false);
    }

    async fn left(&self) -> Vec<String> {
        let lives = |key: &String| self.paved.redis.cli(&["TTL", key]).number() < 0;
        self.paved.redis.keys().into_iter().filter(lives).collect()
    }
}
