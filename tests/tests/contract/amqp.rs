//! RabbitMQ 3.10 and 4, each over TLS too, behind a proxy that breaks connections. What is on a node does not differ.

use std::marker::PhantomData;

use celeriac_inspector::transport::amqp::{AmqpOptions, AmqpTransport, Keeping};
use celeriac_inspector::wire::topology::{Topology, TransportOptions};
use celeriac_inspector::wire::url::{BrokerUrl, ManagementUrl};
use celeriac_tests::rabbitmq::Kind;
use celeriac_tests::{Proxy, RabbitMq, VirtualHost, eventually};
use serde_json::{Value, json};

use super::backend::{Backend, SOON, hurried};

mod failover;
mod four;
mod three;
mod tls;

/// A way to a node.
pub(crate) trait Way: Send + Sync + 'static {
    /// Which node.
    const KIND: Kind;

    /// Behind a proxy that breaks connections.
    fn proxy(host: &VirtualHost) -> Proxy {
        Proxy::start(host.node().address())
    }

    /// The URL by which a user comes through it.
    fn url(host: &VirtualHost, proxy: &Proxy, user: &str) -> String {
        host.url_of(proxy.address(), user)
    }
}

/// RabbitMQ 3.10.
struct Three;

/// RabbitMQ 4 that refuses what is deprecated.
struct Four;

impl Way for Three {
    const KIND: Kind = Kind::Three;
}

impl Way for Four {
    const KIND: Kind = Kind::Strict;
}

/// A virtual host, and the way to it.
pub(crate) struct Rabbit<W> {
    pub(crate) host: VirtualHost,
    pub(crate) proxy: Proxy,
    way: PhantomData<W>,
}

impl<W: Way> Rabbit<W> {
    /// A virtual host of a new name.
    pub(crate) fn new() -> Self {
        let host = RabbitMq::host_on(W::KIND);
        let proxy = W::proxy(&host);
        Self {
            host,
            proxy,
            way: PhantomData,
        }
    }

    /// A transport as a user.
    pub(crate) fn transport_of(&self, user: &str, keeping: &Keeping) -> AmqpTransport {
        transport(&W::url(&self.host, &self.proxy, user), keeping)
    }

    /// A transport whose events are kept.
    pub(crate) fn keeping(&self) -> AmqpTransport {
        self.transport_of("guest", &Keeping::Instance("shop".to_owned()))
    }
}

/// A transport by URL.
pub(crate) fn transport(url: &str, keeping: &Keeping) -> AmqpTransport {
    let url = BrokerUrl::parse(url).expect("the URLs of these tests are valid");
    let topology = Topology::new(0, TransportOptions::default());
    let options = AmqpOptions {
        keeping: keeping.clone(),
        management: None,
    };
    AmqpTransport::new(&url, &topology, &options, hurried()).expect("they are of AMQP brokers")
}

/// A transport that knows where management is.
pub(crate) fn managed(url: &str, management: &str) -> AmqpTransport {
    let url = BrokerUrl::parse(url).expect("the URLs of these tests are valid");
    let topology = Topology::new(0, TransportOptions::default());
    let options = AmqpOptions {
        keeping: Keeping::Instance("shop".to_owned()),
        management: Some(ManagementUrl::parse(management).expect("it is a URL")),
    };
    AmqpTransport::new(&url, &topology, &options, hurried()).expect("they are of AMQP brokers")
}

impl<W: Way> Backend for Rabbit<W> {
    type Transport = AmqpTransport;

    async fn start() -> Self {
        // The node may have to be started, which takes a while.
        tokio::task::spawn_blocking(Self::new)
            .await
            .expect("a virtual host is made")
    }

    async fn transport(&self) -> AmqpTransport {
        self.keeping()
    }

    fn stranger(&self) -> Option<(AmqpTransport, &'static str)> {
        let url = W::url(&self.host, &self.proxy, "guest");
        let url = url.replace("guest:guest@", "guest:s3cret@");
        Some((transport(&url, &Keeping::Ephemeral), "s3cret"))
    }

    async fn send_event(&self, routing_key: &str, body: &str) {
        self.host
            .publish("celeryev", routing_key, body)
            .expect("it is subscribed");
    }

    async fn listen(&self) {
        let api = self.host.node().api();
        let host = self.host.name();
        let exchange = json!({"type": "fanout", "durable": false, "auto_delete": false});
        api.put(&format!("/api/exchanges/{host}/celery.pidbox"), &exchange)
            .expect("a worker declares it");
        let queue = json!({"durable": true, "auto_delete": false});
        api.put(&format!("/api/queues/{host}/worker"), &queue)
            .expect("a worker declares it");
        let binding = json!({"routing_key": ""});
        api.post(
            &format!("/api/bindings/{host}/e/celery.pidbox/q/worker"),
            &binding,
        )
        .expect("a worker binds it");
    }

    async fn heard(&self) -> String {
        let wanted = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"});
        let path = format!("/api/queues/{}/worker/get", self.host.name());
        eventually("a request", SOON, async || {
            let got = self.host.node().api().post(&path, &wanted)?;
            let request = got[0].clone();
            anyhow::ensure!(request.is_object(), "{got}");
            let properties = &request["properties"];
            assert_eq!(properties["content_type"], "application/json");
            assert_eq!(properties["delivery_mode"], 2, "as Celery sends it");
            Ok(request["payload"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    async fn answer(&self, queue: &str, ticket: &str, body: &str) {
        let properties = json!({
            "content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 1,
            "headers": {"ticket": ticket, "clock": 1},
        });
        let message = json!({
            "properties": properties, "routing_key": queue, "payload": body, "payload_encoding": "string",
        });
        let path = format!("/api/exchanges/{}/amq.default/publish", self.host.name());
        let answer = self.host.node().api().post(&path, &message);
        let routed: Value = answer.expect("the node takes it");
        assert_eq!(routed["routed"], true, "there is a reply queue");
    }

    async fn fill(&self, queue: &str, messages: usize) {
        let path = format!("/api/queues/{}/{queue}", self.host.name());
        self.host
            .node()
            .api()
            .put(&path, &json!({"durable": true}))
            .expect("a worker declares it");
        for _ in 0..messages {
            self.host.publish("", queue, "[]").expect("it is there");
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
        let mut left = self.host.queues().expect("the node answers");
        // The queue of events stays until it expires; that is tested where it is.
        left.retain(|name| name.contains("celeriac") && name != "celeryev.celeriac.shop");
        left
    }
}
