//! What is ordered, beside the plan.

use serde_json::{Map, json};

use super::*;
use crate::collect::Node;
use crate::collect::budget::Rate;
use crate::collect::order::{Command, CommandReply, CommandReport, Publication, Query};
use crate::transport::TransportError;
use crate::wire::pidbox::{Control, Destination, Inspect, Method};

fn order(request_id: &str, method: impl Into<Method>, nodes: &[&str]) -> Order {
    let names = nodes.iter().map(ToString::to_string).collect();
    Order::Command(Command {
        request_id: request_id.to_owned(),
        method: method.into(),
        arguments: Map::from_iter([("n".to_owned(), json!(2))]),
        destination: Destination::nodes(names).unwrap_or_else(Destination::everyone),
        wait: Duration::from_secs(1),
    })
}

impl Rig {
    async fn order(&self, order: Order) {
        self.orders.send(order).await.expect("the collector runs");
    }

    async fn publication(&mut self, request_id: &str) -> Publication {
        let said = |report: &CommandReport| {
            let publication = report.publication.clone();
            publication.filter(|_| report.request_id == request_id)
        };
        self.wait("publication", |seen| seen.commands.iter().find_map(said))
            .await
    }

    async fn reply(&mut self, request_id: &str, worker: &str) -> CommandReply {
        let of = |report: &CommandReport| {
            let reply = report.replies.iter().find(|reply| reply.worker == worker);
            reply.filter(|_| report.request_id == request_id).cloned()
        };
        self.wait("reply", |seen| seen.commands.iter().find_map(of))
            .await
    }

    /// The published requests of one method.
    fn published(&self, method: &str) -> Vec<Value> {
        let all = self.broker.take_published();
        let requests = all.iter().map(request);
        requests.filter(|one| one["method"] == method).collect()
    }
}

fn frame(ticket: &Value, body: &Value) -> Frame {
    Frame::Properties {
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        compression: None,
        ticket: ticket.as_str().map(str::to_owned),
        hostname: None,
        routing_key: None,
        body: body.to_string().into_bytes(),
    }
}

#[tokio::test]
async fn a_command_goes_out_at_once_and_its_answers_are_told() {
    // A budget that allows the plan nothing for minutes.
    let limits = Limits {
        deliveries: Rate::Fixed(0.01),
        ..Limits::default()
    };
    let mut rig = rig(limits);
    rig.broker.set_subscribers(Some(3));
    rig.broker.answer_with(|message| {
        let request = request(message);
        let grown = json!({"celery@w1": {"ok": "pool will grow"}});
        match request["method"].as_str() {
            Some("pool_grow") => vec![frame(&request["ticket"], &grown)],
            _ => Vec::new(),
        }
    });
    rig.broker.live(1).await;
    rig.order(order("r-1", Control::PoolGrow, &["celery@w1", "celery@w2"]))
        .await;
    let Publication::Published {
        at_micros,
        subscribers,
    } = rig.publication("r-1").await
    else {
        panic!("it is published")
    };
    assert!(at_micros > 0);
    assert_eq!(subscribers, Some(3));
    let reply = rig.reply("r-1", "celery@w1").await;
    assert_eq!(reply.value_json, r#"{"ok":"pool will grow"}"#);
    assert_eq!(reply.size, None);
    assert!(reply.received_micros >= at_micros);
    let sent = rig.published("pool_grow");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["arguments"], json!({"n": 2}));
    assert_eq!(sent[0]["destination"], json!(["celery@w1", "celery@w2"]));
    assert_eq!(sent[0]["reply_to"]["exchange"], "");
    // An answer that comes long after the wait is told too.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let late = json!({"celery@w2": {"error": "busy"}});
    rig.broker.reply(frame(&sent[0]["ticket"], &late));
    let reply = rig.reply("r-1", "celery@w2").await;
    assert_eq!(reply.value_json, r#"{"error":"busy"}"#);
    rig.finish().await;
}

#[tokio::test]
async fn a_command_is_never_published_again() {
    let mut rig = rig(Limits::default());
    rig.broker.live(1).await;
    rig.broker.fail_with(down);
    rig.order(order("r-1", Inspect::Clock, &["celery@w1"]))
        .await;
    assert_eq!(
        rig.publication("r-1").await,
        Publication::NotPublished {
            reason: "cannot reach fake: switched off".to_owned()
        }
    );
    rig.broker.fail_with(|| TransportError::Unsure {
        error: Box::new(down()),
    });
    rig.order(order("r-2", Inspect::Clock, &["celery@w1"]))
        .await;
    let Publication::Unknown { reason } = rig.publication("r-2").await else {
        panic!("it may have gone out")
    };
    assert!(reason.ends_with("it may have taken the request all the same"));
    rig.broker.mend();
    for request_id in ["r-1", "r-2", "r-3", "r-3"] {
        rig.order(order(request_id, Inspect::Clock, &["celery@w1"]))
            .await;
    }
    rig.publication("r-3").await;
    rig.order(order("r-4", Inspect::Clock, &["celery@w1"]))
        .await;
    rig.publication("r-4").await;
    assert_eq!(rig.published("clock").len(), 2, "r-3 and r-4");
    rig.finish().await;
}

#[tokio::test]
async fn a_command_for_all_names_nobody_and_a_shutdown_asks_for_no_answer() {
    let mut rig = rig(Limits::default());
    rig.broker.live(1).await;
    rig.order(order("r-1", Control::Shutdown, &[])).await;
    rig.publication("r-1").await;
    let sent = rig.published("shutdown");
    assert_eq!(sent[0]["destination"], Value::Null);
    assert_eq!(sent[0].get("reply_to"), None);
    assert_eq!(sent[0].get("ticket"), None);
    rig.finish().await;
}

#[tokio::test]
async fn a_worker_that_was_changed_is_looked_at_again_soon() {
    let mut rig = rig(Limits::default());
    rig.broker.set_subscribers(Some(1));
    rig.broker.answer_with(|message| {
        let request = request(message);
        match request["method"].as_str() {
            Some("pool_grow") => vec![frame(
                &request["ticket"],
                &json!({"celery@w1": {"ok": "pool will grow"}}),
            )],
            _ => answers(message, &["celery@w1"]),
        }
    });
    rig.broker.live(1).await;
    rig.broker.deliver(heartbeat("celery@w1"), 2).await;
    let first = rig
        .wait("first look", |seen| {
            let mut looks = seen.snapshots.iter();
            looks
                .find(|one| one.stats.is_some())
                .map(|one| one.asked_micros)
        })
        .await;
    rig.order(order("r-1", Control::PoolGrow, &["celery@w1"]))
        .await;
    // Within seconds, far before the periodic round.
    let again = rig
        .wait("look", |seen| {
            let mut looks = seen.snapshots.iter();
            looks
                .find(|one| one.stats.is_some() && one.asked_micros > first)
                .cloned()
        })
        .await;
    assert!(again.queues.is_some() && again.registered.is_none());
    rig.finish().await;
}

#[tokio::test]
async fn what_was_ordered_and_not_done_at_a_stop_is_said() {
    let rig = rig(Limits::default());
    rig.broker.live(1).await;
    // On one thread, the collector does not run between these.
    rig.orders
        .try_send(order("r-1", Inspect::Ping, &["celery@w1"]))
        .expect("there is room");
    let (seen, _) = rig.finish().await;
    let reports: Vec<&CommandReport> = seen.iter().flat_map(|one| &one.commands).collect();
    let expected = CommandReport::not_published(
        "r-1".to_owned(),
        "the inspector stopped before the command was published",
    );
    assert_eq!(reports, [&expected]);
}

#[tokio::test]
async fn tasks_are_asked_for_by_id_and_what_their_workers_have_is_told() {
    let mut rig = rig(Limits::default());
    rig.broker.set_subscribers(Some(2));
    rig.broker.answer_with(|message| {
        let request = request(message);
        let held = json!({"id": "t-1", "name": "demo.add", "args": [1, 2], "kwargs": {}});
        match request["method"].as_str() {
            Some("query_task") => vec![
                frame(
                    &request["ticket"],
                    &json!({"celery@w1": {"t-1": ["reserved", held]}}),
                ),
                frame(&request["ticket"], &json!({"celery@w2": {}})),
            ],
            _ => Vec::new(),
        }
    });
    rig.broker.live(1).await;
    rig.order(Order::Query(Query {
        tasks: vec!["t-1".to_owned(), "t-2".to_owned()],
        nodes: ["celery@w1", "celery@w2", "celery@w3"]
            .map(Node::from)
            .into(),
    }))
    .await;
    for (node, found) in [("celery@w1", 1), ("celery@w2", 0)] {
        let queried = rig
            .wait("answer", |seen| {
                let mut all = seen.snapshots.iter().filter(|one| one.hostname == node);
                all.find_map(|one| one.queried.clone())
            })
            .await;
        assert_eq!(*queried.tasks, ["t-1", "t-2"].map(str::to_owned));
        assert_eq!(queried.found.len(), found, "{node}");
        for task in queried.found {
            assert_eq!(task.request.id, "t-1");
            assert_eq!(task.request.args.as_deref(), Some("[1,2]"));
        }
    }
    // One that does not answer is named.
    let silent = rig
        .wait("silence", |seen| {
            let mut all = seen.snapshots.iter();
            all.find(|one| one.unanswered == ["query_task"]).cloned()
        })
        .await;
    assert_eq!(
        (silent.hostname.as_str(), silent.queried),
        ("celery@w3", None)
    );
    let sent = rig.published("query_task");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["arguments"], json!({"ids": ["t-1", "t-2"]}));
    let named = json!(["celery@w1", "celery@w2", "celery@w3"]);
    assert_eq!(sent[0]["destination"], named);
    rig.finish().await;
}
