//! `IngestService`, by the words of its proto comment.

use celeriac_proto::v1;
use celeriac_proto::v1::attach_response::Message as Response;
use tonic::Code;

use crate::bench::{Server, worker};

async fn states(server: &Server) -> Vec<(String, String)> {
    let request = v1::ListTasksRequest {
        order_by: "name".to_owned(),
        ..Default::default()
    };
    let tasks = server
        .inspection()
        .await
        .list_tasks(request)
        .await
        .unwrap()
        .into_inner()
        .tasks;
    tasks
        .into_iter()
        .map(|task| (task.name.unwrap_or_default(), task.state))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    assert_eq!(inspector.welcome.acknowledged_sequence, 0);
    assert_eq!(inspector.welcome.role(), v1::InspectorRole::Active);
    let mut w1 = worker();
    inspector.send(1, w1.does("t1", "shop.done")).await;
    inspector
        .send(2, vec![w1.receives("t2", "shop.waiting")])
        .await;
    inspector.acknowledged(2).await;
    server.end().await;

    let server = Server::start(folder.path()).await;
    let expected = [("shop.done", "SUCCESS"), ("shop.waiting", "RECEIVED")];
    let expected = expected.map(|(name, state)| (name.to_owned(), state.to_owned()));
    assert_eq!(states(&server).await, expected);
    let request = v1::GetTaskRequest {
        id: "t2".to_owned(),
        ..Default::default()
    };
    let task = server
        .inspection()
        .await
        .get_task(request)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    assert_eq!(task.worker.as_deref(), Some("celery@w1"));
    assert_eq!(task.payload.unwrap().kwargs.as_deref(), Some("{'id': 3}"));
    // The same life of the inspector goes on where the disk ends.
    let again = server.attach("a", 1).await;
    assert_eq!(again.welcome.acknowledged_sequence, 2);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_at_or_below_is_acknowledged_again_and_not_applied_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut w1 = worker();
    let events = w1.does("t1", "shop.done");
    let mut inspector = server.attach("a", 1).await;
    inspector.send(1, events.clone()).await;
    inspector.acknowledged(1).await;
    drop(inspector);
    let mut inspector = server.attach("a", 1).await;
    assert_eq!(inspector.welcome.acknowledged_sequence, 1);
    inspector.send(1, events).await;
    inspector.send(2, w1.does("t2", "shop.done")).await;
    inspector.acknowledged(2).await;
    let request = v1::GetTaskNameRequest {
        name: "shop.done".to_owned(),
        ..Default::default()
    };
    let name = server
        .inspection()
        .await
        .get_task_name(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(name.task_name.unwrap().succeeded, 2);
    server.end().await;
}

/// What may not change when events come again: the counters of the page, each task's attempts, the worker's life.
async fn counted(server: &Server) -> (Vec<String>, Vec<(String, u64, bool)>, (u64, i64)) {
    let (_, page) = server.http("/metrics", &server.address.to_string()).await;
    let counts =
        |line: &&str| line.starts_with("celery_task_") || line.starts_with("flower_events");
    let mut page: Vec<_> = page.lines().filter(counts).map(str::to_owned).collect();
    page.sort();
    let mut client = server.inspection().await;
    let tasks = client.list_tasks(v1::ListTasksRequest::default()).await;
    let tasks = tasks.unwrap().into_inner().tasks.into_iter();
    let mut tasks: Vec<_> = tasks
        .map(|task| (task.id, task.attempt_count, task.lost))
        .collect();
    tasks.sort();
    let request = v1::GetWorkerRequest {
        name: "celery@w1".to_owned(),
        ..Default::default()
    };
    let worker = client.get_worker(request).await.unwrap().into_inner();
    let life = worker.worker.unwrap().incarnation.unwrap().number;
    let app = client.get_app(v1::GetAppRequest::default()).await;
    let folded = app.unwrap().into_inner().app.unwrap().events_folded;
    (page, tasks, (life, folded))
}

/// An aggregator that lost the end of what it acknowledged, or an inspector that had to begin anew: its first batches may
/// hold what was folded before.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_in_a_new_epoch_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut w1 = worker();
    let beat = |w1: &mut crate::bench::Worker, processed| v1::Event {
        processed: Some(processed),
        ..w1.heartbeat()
    };
    let mut events = vec![beat(&mut w1, 0)];
    for number in 0..3 {
        let id = format!("t{number}");
        events.push(v1::Event {
            name: Some("shop.done".to_owned()),
            queue: Some("celery".to_owned()),
            hostname: "gen1@shop".to_owned(),
            ..w1.event("task-sent", Some(&id))
        });
        events.extend(w1.does(&id, "shop.done"));
        events.push(w1.event("task-progress", Some(&id)));
        events.push(beat(&mut w1, number + 1));
    }
    events.push(w1.receives("again", "shop.flaky"));
    for kind in ["task-started", "task-retried"] {
        events.push(w1.event(kind, Some("again")));
    }
    events.push(w1.receives("again", "shop.flaky"));
    for kind in ["task-started", "task-failed"] {
        events.push(w1.event(kind, Some("again")));
    }
    events.push(w1.receives("open", "shop.waiting"));
    events.push(w1.event("task-started", Some("open")));
    events.push(beat(&mut w1, 6));
    let mut first = server.attach("a", 1).await;
    first.send(1, events.clone()).await;
    first.acknowledged(1).await;
    let before = counted(&server).await;
    drop(first);
    let mut second = server.attach("a", 2).await;
    // Divided otherwise than before.
    let (early, late) = events.split_at(7);
    second.send(1, early.to_vec()).await;
    second.send(2, late.to_vec()).await;
    second.acknowledged(2).await;
    assert_eq!(counted(&server).await, before);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_in_the_sequence_is_failed_precondition() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    inspector.send(2, Vec::new()).await;
    let status = inspector.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "batch 2 came after batch 0");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_inspector_is_folded_and_another_waits_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut first = server.attach("a", 1).await;
    let mut second = server.attach("b", 2).await;
    assert_eq!(second.welcome.role(), v1::InspectorRole::Standby);
    first.send(1, worker().does("t1", "shop.done")).await;
    first.acknowledged(1).await;
    drop(first);
    let Some(Response::RoleChange(change)) = second.hear().await.unwrap() else {
        panic!("the waiting one is told");
    };
    assert_eq!(change.role(), v1::InspectorRole::Active);
    second.send(1, worker().does("t2", "shop.done")).await;
    second.acknowledged(1).await;
    assert_eq!(states(&server).await.len(), 2);
    // On Redis nobody listened in between: that is a gap.
    let request = v1::GetAppRequest {
        app: "shop".to_owned(),
    };
    let app = server
        .inspection()
        .await
        .get_app(request)
        .await
        .unwrap()
        .into_inner()
        .app
        .unwrap();
    assert_eq!(app.gaps[0].cause(), v1::GapCause::Detached);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_a_name_is_refused() {
    use celeriac_proto::v1::attach_request::Message as Request;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let hello = v1::AttachRequest {
        message: Some(Request::Hello(v1::Hello::default())),
    };
    let endpoint = format!("http://{}", server.address);
    let mut client = v1::ingest_service_client::IngestServiceClient::connect(endpoint)
        .await
        .unwrap();
    let mut answers = client
        .attach(tokio_stream::iter([hello]))
        .await
        .unwrap()
        .into_inner();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("hello.app"),
        "{}",
        status.message()
    );
    server.end().await;
}
