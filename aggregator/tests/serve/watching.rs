//! `WatchService`, by the words of its proto comment.

use celeriac_proto::v1;
use celeriac_proto::v1::watch_delta::Change;
use celeriac_proto::v1::watch_item::Item;
use celeriac_proto::v1::watch_response::Message;
use tonic::Streaming;

use crate::bench::{PATIENCE, Server, worker};

async fn next(stream: &mut Streaming<v1::WatchResponse>) -> (String, Message) {
    let response = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .unwrap();
    let response = response.unwrap().unwrap();
    (response.resume_token, response.message.unwrap())
}

fn tasks(filter: &str) -> v1::WatchRequest {
    v1::WatchRequest {
        kinds: vec![v1::WatchKind::Task.into()],
        task_filter: filter.to_owned(),
        ..Default::default()
    }
}

async fn watch(server: &Server, request: v1::WatchRequest) -> Streaming<v1::WatchResponse> {
    server
        .watching()
        .await
        .watch(request)
        .await
        .unwrap()
        .into_inner()
}

fn said(message: &Message) -> String {
    let item = |item: &v1::WatchItem| match item.item.as_ref().unwrap() {
        Item::Task(task) => format!("{} {}", task.id, task.state),
        other => format!("{other:?}"),
    };
    match message {
        Message::SnapshotBegin(_) => "begin".to_owned(),
        Message::Item(one) => format!("item {}", item(one)),
        Message::SnapshotEnd(end) => format!("end {}", end.items),
        Message::Delta(delta) => match delta.change.as_ref().unwrap() {
            Change::Set(one) => format!("set {}", item(one)),
            Change::Removed(removed) => format!("removed {}", removed.name),
        },
        Message::Gap(gap) => format!("gap {:?}", gap.cause()),
        Message::Heartbeat(_) => "heartbeat".to_owned(),
    }
}

async fn hears(stream: &mut Streaming<v1::WatchResponse>, expected: &[&str]) -> String {
    let mut token = String::new();
    for words in expected {
        let (at, message) = next(stream).await;
        assert_eq!(said(&message), *words);
        token = at;
    }
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn first_a_snapshot_then_deltas_and_a_token_goes_on_without_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    let mut w1 = worker();
    inspector.send(1, vec![w1.receives("t1", "shop.one")]).await;
    inspector.acknowledged(1).await;

    let mut stream = watch(&server, tasks("")).await;
    let token = hears(&mut stream, &["begin", "item t1 RECEIVED", "end 1"]).await;
    inspector
        .send(2, vec![w1.event("task-started", Some("t1"))])
        .await;
    let started = hears(&mut stream, &["set t1 STARTED"]).await;
    drop(stream);
    inspector.send(3, w1.does("t2", "shop.two")).await;
    inspector.acknowledged(3).await;

    let resumed = v1::WatchRequest {
        resume_token: started,
        ..tasks("")
    };
    hears(&mut watch(&server, resumed).await, &["set t2 SUCCESS"]).await;
    let earlier = v1::WatchRequest {
        resume_token: token,
        ..tasks("")
    };
    hears(
        &mut watch(&server, earlier).await,
        &["set t1 STARTED", "set t2 SUCCESS"],
    )
    .await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_no_longer_matches_is_removed_and_others_are_not_mentioned() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    let mut w1 = worker();
    inspector.send(1, vec![w1.receives("t1", "shop.one")]).await;
    inspector.acknowledged(1).await;
    let mut stream = watch(&server, tasks("state = RECEIVED")).await;
    hears(&mut stream, &["begin", "item t1 RECEIVED", "end 1"]).await;
    inspector.send(2, w1.does("t2", "shop.two")).await;
    inspector.acknowledged(2).await;
    inspector
        .send(3, vec![w1.event("task-started", Some("t1"))])
        .await;
    hears(&mut stream, &["removed t1"]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_explicit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    inspector.send(1, vec![worker().heartbeat()]).await;
    inspector.acknowledged(1).await;
    let mut stream = watch(&server, tasks("")).await;
    hears(&mut stream, &["begin", "end 0"]).await;
    let gap = v1::Gap {
        cause: v1::GapCause::Overflow.into(),
        dropped_messages: Some(3),
        ..v1::Gap::default()
    };
    inspector
        .send_batch(v1::Batch {
            sequence: 2,
            gaps: vec![gap],
            ..Default::default()
        })
        .await;
    hears(&mut stream, &["gap Overflow"]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_life_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    inspector
        .send(1, vec![worker().receives("t1", "shop.one")])
        .await;
    inspector.acknowledged(1).await;
    let mut stream = watch(&server, tasks("")).await;
    let token = hears(&mut stream, &["begin", "item t1 RECEIVED", "end 1"]).await;
    drop((stream, inspector));
    server.end().await;
    let server = Server::start(folder.path()).await;
    let resumed = v1::WatchRequest {
        resume_token: token,
        ..tasks("")
    };
    let mut stream = watch(&server, resumed).await;
    hears(&mut stream, &["begin", "item t1 RECEIVED", "end 1"]).await;
    drop(stream);
    server.end().await;
}
