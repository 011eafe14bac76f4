//! Workers of Celery itself that stall after a reconnect (celery#10205): they answer remote control, their queue has messages,
//! and they take none, for ever.
//!
//! After a broken connection a worker connects again; then the network forgets the connection on which it waits for messages
//! and tells nobody, as firewalls, NAT and load balancers do. The connection of its remote control lives, so it answers. Up to
//! 5.6 Celery never looks whether the other one is dead. 5.7 does so after half a minute and goes on by itself. Not here: with
//! 5.2 a worker may lose kombu's poll callback when Redis is restarted twice (celery#8030), and then answers nothing either; it
//! is silent, and a sidecar lets it live.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use celeriac_tests::resp::Value;
use celeriac_tests::{Aggregator, Celery, Proxy, Redis, Worker, eventually, turn};
use tempfile::TempDir;

use crate::scene::{SOON, Sidecar, ends};

const NODE: &str = "celery@w1";
const STALLED_AFTER: &str = "--stalled-after=4s";

/// Several times what is called a stall here.
const LONG: Duration = Duration::from_secs(16);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_celery_5_6_that_stalls_after_a_reconnect_is_found() {
    let _turn = turn().await;
    Scene::set("5.6").await.stalls_and_is_found().await;
}

/// By hand: `cargo test -p celeriac-tests --test sidecar -- --ignored stalls --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "by hand: the same as with 5.6"]
async fn a_worker_of_an_older_celery_that_stalls_after_a_reconnect_is_found() {
    let _turn = turn().await;
    for version in ["5.4", "5.2"] {
        Scene::set(version).await.stalls_and_is_found().await;
    }
}

/// A worker that reaches its broker through a network that can forget.
struct Scene {
    folder: TempDir,
    redis: Redis,
    proxy: Proxy,
    /// Who sends tasks, past that network.
    sender: Celery,
    worker: Worker,
}

impl Scene {
    async fn set(version: &str) -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let celery = |broker: &str| {
            Celery::new(version, broker)
                .env("DEMO_BACKEND", "cache+memory://")
                .truth(&folder.path().join("truth"))
        };
        let sender = celery(&redis.url());
        let worker = celery(&redis.url_of(proxy.address(), 0))
            .worker("w1")
            .start();
        Self {
            worker: worker.await,
            folder,
            redis,
            proxy,
            sender,
        }
    }

    async fn stalls_and_is_found(mut self) {
        let aggregator = Aggregator::builder().broker(&self.redis.url());
        let aggregator = aggregator.arg("--round=5s").start().await;
        aggregator.subscribed().await;
        let url = format!("http://{}", aggregator.address());
        let options = [STALLED_AFTER, "--aggregator", &url];
        let sidecar = Sidecar::start(&self.redis.url(), NODE, &options).await;
        sidecar.ready().await;

        self.reconnected().await;
        self.sender.run("add.delay(1, 1)");
        self.returned(1).await;
        self.forgotten().await;
        // Idle is not stalled.
        sidecar.lives_on(LONG).await;

        let answers = "add.delay(1, 1)\nprint(app.control.ping(timeout=20, limit=1))";
        let answers = self.sender.run(answers);
        assert!(answers.contains("pong"), "it does not answer: {answers:?}");
        sidecar.finds_a_stall().await;
        assert_eq!(self.redis.cli(&["LLEN", "celery"]).number(), 1);

        // What a kubelet does then mends it.
        self.worker.restart().await;
        self.returned(2).await;
        eventually("it is alive", SOON, async || {
            let (status, reason) = sidecar.get("/livez");
            ensure!(status == 200, "{status} {reason}");
            Ok(())
        })
        .await;
    }

    /// Has its connections broken, and waits until it consumes again.
    async fn reconnected(&self) {
        let before = eventually("it waits", SOON, async || self.waiting()).await;
        self.proxy.cut();
        eventually("it has connected again", SOON, async || {
            let now = self.waiting()?;
            ensure!(now != before, "it has not: {}", self.worker.process.log());
            Ok(())
        })
        .await;
    }

    /// Has the network forget the connection on which it waits for messages, between two waits: the next message is given to
    /// nobody.
    async fn forgotten(&self) {
        let connection = eventually("it waits", SOON, async || self.waiting()).await;
        self.proxy.strand_only(connection);
        eventually("Redis has ended its wait", SOON, async || {
            ensure!(self.waiting().is_err(), "it has not");
            Ok(())
        })
        .await;
    }

    /// The address from which the worker waits for messages, as Redis sees it.
    fn waiting(&self) -> anyhow::Result<SocketAddr> {
        let Value::Text(clients) = self.redis.cli(&["CLIENT", "LIST", "TYPE", "normal"]) else {
            anyhow::bail!("no list");
        };
        let mut lines = clients.lines();
        let line = lines.find(|line| line.contains(" cmd=brpop ") && line.contains(" flags=b "));
        let line = line.context("nobody waits")?;
        let mut fields = line.split(' ');
        let address = fields.find_map(|field| field.strip_prefix("addr="));
        Ok(address.context("clients have addresses")?.parse()?)
    }

    async fn returned(&self, times: usize) {
        let truth = self.folder.path().join("truth");
        eventually("its tasks run", SOON, async || {
            ends(&truth, "return", times)
        })
        .await;
    }
}
