//! Redis 7, behind a proxy that breaks connections.

use celeriac_inspector::transport::redis::RedisTransport;
use celeriac_inspector::wire::topology::{Topology, TransportOptions};
use celeriac_inspector::wire::url::BrokerUrl;
use celeriac_tests::resp::{Connection, Value};
use celeriac_tests::{Proxy, Redis};
use serde_json::json;
use tokio::sync::Mutex;

use super::backend::{Backend, hurried};
use super::cases::contract;

/// A server, and the way to it.
struct Server {
    redis: Redis,
    proxy: Proxy,
    worker: Mutex<Option<Connection>>,
}

fn transport(url: &str) -> RedisTransport {
    let url = BrokerUrl::parse(url).expect("the URLs of these tests are valid");
    let topology = Topology::new(0, TransportOptions::default());
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

impl Backend for Server {
    type Transport = RedisTransport;

    async fn start() -> Self {
        let redis = Redis::builder().password("right").start();
        let proxy = Proxy::start(redis.address());
        Self {
            redis,
            proxy,
            worker: Mutex::default(),
        }
    }

    async fn transport(&self) -> RedisTransport {
        transport(&self.redis.url_of(self.proxy.address(), 0))
    }

    fn stranger(&self) -> Option<(RedisTransport, &'static str)> {
        let url = format!("redis://:s3cret@{}/0", self.proxy.address());
        Some((transport(&url), "s3cret"))
    }

    async fn send_event(&self, routing_key: &str, body: &str) {
        let channel = format!("/0.celeryev/{routing_key}");
        let reached = self
            .redis
            .cli(&["PUBLISH", &channel, &envelope(None, body)]);
        assert_eq!(reached, Value::Number(1));
    }

    async fn listen(&self) {
        let mut connection = self.redis.connect().expect("the server runs");
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
        self.redis
            .cli(&["LPUSH", queue, &envelope(Some(ticket), body)]);
    }

    async fn fill(&self, queue: &str, messages: usize) {
        for _ in 0..messages {
            self.redis.cli(&["LPUSH", queue, "task"]);
        }
    }

    async fn part(&self) {
        self.proxy.refuse(true);
        self.proxy.cut();
    }

    async fn mend(&self) {
        self.proxy.refuse(false);
    }

    async fn left(&self) -> Vec<String> {
        let lives = |key: &String| self.redis.cli(&["TTL", key]).number() < 0;
        self.redis.keys().into_iter().filter(lives).collect()
    }
}

contract!(Server);
