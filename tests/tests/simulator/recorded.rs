//! What simulated workers declare on RabbitMQ and how their messages look there, beside what was recorded of Celery 5.7
//! (`tests/fixtures/amqp-*.jsonl`), as RabbitMQ itself tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use celeriac_tests::{Celery, Fleet, RabbitMq, VirtualHost, eventually, paths, turn};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const CONTROL_QUEUE: &str = "celery@sim0.celery.pidbox";
/// Who reads along.
const WITNESS: &str = "witness";

fn recording(name: &str) -> Vec<Value> {
    let file = paths::root().join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(file).expect("the recordings are in the checkout");
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("a recording is JSON lines"));
    lines.collect()
}

async fn host() -> VirtualHost {
    let host = tokio::task::spawn_blocking(RabbitMq::host);
    host.await.expect("the node starts")
}

#[tokio::test]
async fn declarations_on_rabbitmq_are_those_of_a_worker() {
    let _turn = turn().await;
    let host = host().await;
    let fleet = Fleet::on(&host.url()).workers(1).start();
    eventually("it listens", SOON, async || {
        ensure!(fleet.counts().listening == 1, "{:?}", fleet.counts());
        Ok(())
    })
    .await;
    let api = host.node().api();
    let recorded = recording("amqp-declares.jsonl");
    let of = |method: &str, field: &str, name: &str| {
        let found = recorded
            .iter()
            .find(|call| call["method"] == method && call["args"][field] == name);
        found.unwrap_or_else(|| panic!("{method} {name} was not recorded"))["args"].clone()
    };
    for name in ["celery.pidbox", "reply.celery.pidbox", "celeryev"] {
        let path = format!("/api/exchanges/{}/{name}", host.name());
        let seen = eventually("the exchange is there", SOON, async || api.get(&path)).await;
        let declared = of("Exchange.Declare", "exchange", name);
        for field in ["type", "durable", "auto_delete", "internal", "arguments"] {
            assert_eq!(seen[field], declared[field], "{name} {field}");
        }
    }
    for (name, of_recorded) in [
        (CONTROL_QUEUE, "celery@w1.celery.pidbox"),
        ("celery", "celery"),
    ] {
        let declared = of("Queue.Declare", "queue", of_recorded);
        let seen = host.queue(name).expect("it is there");
        for field in ["durable", "auto_delete", "exclusive", "arguments"] {
            assert_eq!(seen[field], declared[field], "{name} {field}");
        }
        let bound = of("Queue.Bind", "queue", of_recorded);
        let path = format!("/api/queues/{}/{name}/bindings", host.name());
        let bindings = api.get(&path).expect("it is there");
        let like = |one: &Value| {
            one["source"] == bound["exchange"] && one["routing_key"] == bound["routing_key"]
        };
        let bindings = bindings.as_array().expect("a list");
        assert!(bindings.iter().any(like), "{bound} {bindings:?}");
    }
    // Its consumer takes without acknowledging, as that of a worker does.
    let consumers = eventually("it consumes", SOON, async || {
        let queue = host.queue(CONTROL_QUEUE)?;
        let consumers = queue["consumer_details"].clone();
        ensure!(consumers[0].is_object(), "{queue}");
        Ok(consumers)
    })
    .await;
    let consume = of("Basic.Consume", "queue", "celery@w1.celery.pidbox");
    assert_eq!(
        json!(consumers[0]["ack_required"] == false),
        consume["no_ack"]
    );
    assert_eq!(consumers[0]["exclusive"], consume["exclusive"]);

    fleet.stop().await;
    eventually("its queue goes with it", SOON, async || {
        let queues = host.queues()?;
        ensure!(queues == ["celery"], "{queues:?}");
        Ok(())
    })
    .await;
}

/// What a message is called and how it looks: types in place of values, but of what is the same in every message. `None` when its
/// body is no JSON: Python's may hold half of a character.
fn looks(exchange: &Value, key: &Value, properties: &Value, body: &str) -> Option<(String, Value)> {
    let body: Value = serde_json::from_str(body).ok()?;
    let fields = body.get(0).unwrap_or(&body);
    let kind = fields["type"].as_str().map(str::to_owned);
    let name = match (kind, exchange == "celeryev") {
        (Some(kind), true) => format!("{} {kind}", key.as_str().unwrap_or_default()),
        _ => "reply".to_owned(),
    };
    let types = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        let word = |value: &Value| match value {
            Value::String(_) => "text",
            Value::Number(_) => "number",
            _ => "other",
        };
        fields
            .map(|(field, value)| (field.clone(), word(value)))
            .collect::<BTreeMap<_, _>>()
    };
    let mut shape = properties.clone();
    shape["headers"] = json!(types(&properties["headers"]));
    Some((name, shape))
}

fn messages(host: &VirtualHost) -> Result<Vec<Value>> {
    let path = format!("/api/queues/{}/{WITNESS}/get", host.name());
    let all = json!({"count": 1000, "ackmode": "ack_requeue_true", "encoding": "auto"});
    let answer = host.node().api().post(&path, &all)?;
    Ok(answer.as_array().cloned().unwrap_or_default())
}

/// Has events and one reply come to the witness' queue.
fn bind_witness(host: &VirtualHost) {
    let api = host.node().api();
    let vhost = host.name();
    let queue = format!("/api/queues/{vhost}/{WITNESS}");
    api.put(&queue, &json!({"durable": true})).expect("made");
    let durable = json!({"type": "topic", "durable": true});
    api.put(&format!("/api/exchanges/{vhost}/celeryev"), &durable)
        .expect("made");
    let direct = json!({"type": "direct", "durable": false});
    api.put(
        &format!("/api/exchanges/{vhost}/reply.celery.pidbox"),
        &direct,
    )
    .expect("made");
    for (exchange, key) in [("celeryev", "#"), ("reply.celery.pidbox", "somebody")] {
        let path = format!("/api/bindings/{vhost}/e/{exchange}/q/{WITNESS}");
        let bound = api.post(&path, &json!({"routing_key": key}));
        bound.expect("bound");
    }
}

#[tokio::test]
async fn messages_on_rabbitmq_look_like_recorded_ones() {
    let _turn = turn().await;
    let host = host().await;
    bind_witness(&host);
    let fleet = Fleet::on(&host.url()).workers(1).start();
    eventually("it listens", SOON, async || {
        ensure!(fleet.counts().listening == 1, "{:?}", fleet.counts());
        Ok(())
    })
    .await;
    fleet.work(20.0).await;
    let celery = Celery::new("5.7", &host.url()).env("DEMO_BACKEND", "rpc://");
    celery.run(
        "from kombu import Producer\n\
         with app.connection_for_write() as connection:\n\
         \u{20}   Producer(connection).publish({'method': 'ping', 'arguments': {}, 'destination': None, 'pattern': None, 'matcher': None,\n\
         \u{20}       'ticket': 't', 'reply_to': {'exchange': 'reply.celery.pidbox', 'routing_key': 'somebody'}}, exchange='celery.pidbox',\n\
         \u{20}       routing_key='', serializer='json')",
    );
    let recorded: BTreeMap<String, Value> = ["amqp-events.jsonl", "amqp-pidbox.jsonl"]
        .into_iter()
        .flat_map(recording)
        .filter(|line| line["exchange"] != "celery.pidbox")
        .filter_map(|line| {
            let body = line["body"].as_str().unwrap_or_default();
            looks(
                &line["exchange"],
                &line["routing_key"],
                &line["properties"],
                body,
            )
        })
        .collect();
    let expected = [
        "reply",
        "task.multi task-failed",
        "task.multi task-received",
        "task.multi task-retried",
        "task.multi task-revoked",
        "task.multi task-started",
        "task.multi task-succeeded",
        "worker.heartbeat worker-heartbeat",
        "worker.online worker-online",
    ];
    let seen = eventually("a message of each kind was sent", SOON, async || {
        let seen = messages(&host)?;
        let seen = seen.iter().map(|message| {
            let body = message["payload"].as_str().unwrap_or_default();
            looks(
                &message["exchange"],
                &message["routing_key"],
                &message["properties"],
                body,
            )
            .expect("bodies are JSON")
        });
        let seen: BTreeMap<String, Value> = seen.collect();
        ensure!(seen.keys().eq(expected.iter()), "{:?}", seen.keys());
        Ok(seen)
    })
    .await;
    for (name, look) in &seen {
        assert_eq!(Some(look), recorded.get(name), "{name}");
    }
}
