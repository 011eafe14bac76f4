//! Transport options that change names on Redis: a real worker and Celeriac with the same options see each other, and what
//! is counted is what kombu counts itself.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use celeriac_proto::v1::Queue;
use celeriac_tests::{Aggregator, Authority, Celery, Redis, Worker, eventually, turn};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);

/// What kombu says of its queue `celery`: all that is ready, that by priority step, and what is not acknowledged.
const TRUTH: &str = "
with app.connection() as connection:
    channel = connection.default_channel
    steps = [[step, channel.client.llen(channel._q_for_pri('celery', step))] for step in channel.priority_steps]
    unacked = channel.client.hlen(channel.unacked_key)
    print(json.dumps({'ready': channel._size('celery'), 'steps': steps, 'unacked': unacked}))
";

/// Tasks that last, at every priority: the worker runs two, prefetches eight, and twenty stay ready.
const LOAD: &str = "for n in range(30): nap.apply_async((120,), priority=n % 10)";

/// An app with options, its worker, and Celeriac with the same.
struct App {
    celery: Celery,
    worker: Worker,
    aggregator: Aggregator,
}

impl App {
    /// Does not wait for the worker.
    async fn launch(name: &str, url: &str, options: &Value) -> Self {
        let celery = Celery::new("5.7", url)
            .env("DEMO_BACKEND", "cache+memory://")
            .settings(&json!({"broker_transport_options": options}));
        let worker = celery.worker(name).launch();
        let mut aggregator = Aggregator::builder().broker(url).arg("--round").arg("5s");
        for (name, value) in options.as_object().expect("options have names") {
            let option = match value {
                Value::String(text) => format!("{name}={text}"),
                other => format!("{name}={other}"),
            };
            aggregator = aggregator.arg("--transport-option").arg(&option);
        }
        let aggregator = aggregator.start().await;
        aggregator.subscribed().await;
        Self {
            celery,
            worker,
            aggregator,
        }
    }

    async fn queue(&self) -> anyhow::Result<Queue> {
        let queues = self.aggregator.queues().await?;
        let queue = queues.iter().find(|queue| queue.name == "celery");
        queue.cloned().with_context(|| format!("{queues:?}"))
    }

    async fn check(&mut self) {
        self.worker.ready().await;
        self.celery.run(LOAD);
        let (aggregator, name) = (&self.aggregator, &self.worker.name);
        eventually("its events are seen", SOON, async || {
            let running = aggregator.tasks("state = STARTED").await?;
            ensure!(running.len() == 2, "{running:?}");
            Ok(())
        })
        .await;
        eventually("it has answered", SOON, async || {
            let worker = aggregator.worker(name).await?;
            ensure!(worker.inspection.is_some(), "{worker:?}");
            Ok(())
        })
        .await;
        let truth: Value = serde_json::from_str(self.celery.run(TRUTH).trim()).expect("JSON");
        assert_eq!(truth["ready"], 20, "{truth}");
        eventually("queues are as kombu counts them", SOON, async || {
            let queue = self.queue().await?;
            let steps: Vec<(i32, i64)> = queue
                .priorities
                .iter()
                .map(|depth| (depth.priority, depth.ready))
                .collect();
            let unacked = queue.unacked.unwrap_or_default();
            // The hash is of all queues; what is of this one is told by the worker.
            ensure!(unacked.approximate, "{queue:?}");
            let seen = json!({"ready": queue.ready, "steps": steps, "unacked": unacked.count});
            ensure!(seen == truth, "{seen} {truth}");
            Ok(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_the_same_options_is_seen_asked_and_counted() {
    let _turn = turn().await;
    let authority = Authority::new("authority");
    authority.sign("server", "127.0.0.1");
    authority.sign("client", "inspector");
    let redis = Redis::builder().tls(&authority, "yes").start();
    let [ca, certificate, key] =
        ["ca.crt", "client.crt", "client.key"].map(|name| authority.file(name));
    let encrypted = format!(
        "rediss://{}/3?ssl_cert_reqs=required&ssl_ca_certs={ca}&ssl_certfile={certificate}&ssl_keyfile={key}",
        redis.tls_address()
    );
    let mut apps = [
        App::launch(
            "keys",
            &redis.url_db(1),
            &json!({
                "global_keyprefix": "shop:", "sep": ":", "priority_steps": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                "queue_order_strategy": "priority",
            }),
        )
        .await,
        App::launch(
            "channels",
            &redis.url_db(2),
            &json!({
                "fanout_prefix": false, "fanout_patterns": false, "unacked_key": "kept", "unacked_index_key": "kept_times",
                "queue_order_strategy": "sorted",
            }),
        )
        .await,
        App::launch("template", &encrypted, &json!({"fanout_prefix": "/my{db}."})).await,
    ];
    for app in &mut apps {
        app.check().await;
    }
}
