//! `InspectionService`: one order over memory and history, pages without loss, errors that help.

use celeriac_proto::v1;
use tonic::Code;

use crate::bench::{Server, worker};

fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Forty tasks, every fourth of them still waiting.
async fn with_tasks(folder: &std::path::Path) -> Server {
    let server = Server::start(folder).await;
    let mut inspector = server.attach("a", 1).await;
    let mut w1 = worker();
    let mut events = vec![w1.heartbeat()];
    for number in 0..40 {
        let (task, name) = (id(number), format!("shop.task{}", number % 3));
        match number % 4 {
            0 => events.push(w1.receives(&task, &name)),
            _ => events.extend(w1.does(&task, &name)),
        }
    }
    inspector.send(1, events).await;
    inspector.acknowledged(1).await;
    server
}

async fn ids(server: &Server, mut request: v1::ListTasksRequest) -> Vec<String> {
    let mut client = server.inspection().await;
    let mut found = Vec::new();
    loop {
        let page = client
            .list_tasks(request.clone())
            .await
            .unwrap()
            .into_inner();
        found.extend(page.tasks.into_iter().map(|task| task.id));
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_give_every_task_once_from_memory_and_from_history() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_tasks(folder.path()).await;
    let newest_first: Vec<String> = (0..40).rev().map(id).collect();
    for page_size in [1, 7, 1_000] {
        let request = v1::ListTasksRequest {
            page_size,
            ..Default::default()
        };
        assert_eq!(
            ids(&server, request).await,
            newest_first,
            "pages of {page_size}"
        );
    }
    server.end().await;
    // After a restart the finished ones are in history only.
    let server = Server::start(folder.path()).await;
    for page_size in [1, 7, 1_000] {
        let request = v1::ListTasksRequest {
            page_size,
            ..Default::default()
        };
        assert_eq!(
            ids(&server, request).await,
            newest_first,
            "pages of {page_size}"
        );
        let request = v1::ListTasksRequest {
            page_size,
            filter: "state = SUCCESS AND name = \"shop.task1\"".to_owned(),
            order_by: "first_seen".to_owned(),
            ..Default::default()
        };
        let expected: Vec<String> = (0..40)
            .filter(|n| n % 4 != 0 && n % 3 == 1)
            .map(id)
            .collect();
        assert_eq!(
            ids(&server, request).await,
            expected,
            "pages of {page_size}"
        );
    }
    server.end().await;
}

/// Its row in history is of its first end, in a place that is no longer its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_began_again_is_listed_once_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_tasks(folder.path()).await;
    let mut inspector = server.attach("a", 2).await;
    let mut w1 = worker();
    w1.clock = 1_000;
    let again = id(1);
    inspector
        .send(1, vec![w1.receives(&again, "shop.task1")])
        .await;
    inspector.acknowledged(1).await;
    let request = |finished: bool| v1::ListTasksRequest {
        page_size: 3,
        filter: format!("finished = {finished}"),
        order_by: "finish_seen".to_owned(),
        ..Default::default()
    };
    let check = async |server: &Server| {
        let ended = ids(server, request(true)).await;
        let waits = ids(server, request(false)).await;
        assert!(waits.contains(&again), "{waits:?}");
        assert!(!ended.contains(&again), "{ended:?}");
        assert_eq!(waits.len() + ended.len(), 40);
    };
    check(&server).await;
    server.end().await;
    // The unfinished ones are in memory again, from the journal.
    let server = Server::start(folder.path()).await;
    check(&server).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_leave_out_what_was_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_tasks(folder.path()).await;
    let mut client = server.inspection().await;
    let request = v1::ListTasksRequest {
        page_size: 1,
        ..Default::default()
    };
    let basic = client
        .list_tasks(request.clone())
        .await
        .unwrap()
        .into_inner()
        .tasks
        .remove(0);
    assert_eq!((basic.payload, basic.attempts.len()), (None, 0));
    let request = v1::ListTasksRequest {
        view: v1::TaskView::Full.into(),
        ..request
    };
    let full = client
        .list_tasks(request)
        .await
        .unwrap()
        .into_inner()
        .tasks
        .remove(0);
    assert_eq!(full.payload.unwrap().result.as_deref(), Some("'done'"));
    assert_eq!(full.attempts[0].outcome.as_deref(), Some("SUCCESS"));
    assert_eq!(
        full.runtime,
        Some(prost_types::Duration {
            seconds: 0,
            nanos: 250_000_000
        })
    );
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_field_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_tasks(folder.path()).await;
    let mut client = server.inspection().await;
    let mut refused = async |request: v1::ListTasksRequest| {
        let status = client.list_tasks(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let filter = |text: &str| v1::ListTasksRequest {
        filter: text.to_owned(),
        ..Default::default()
    };
    for (request, words) in [
        (filter("stat = FAILURE"), ["stat", "state"]),
        (filter("state = "), ["filter", "position 8"]),
        (
            v1::ListTasksRequest {
                page_size: -1,
                ..Default::default()
            },
            ["page_size", "-1"],
        ),
        (
            v1::ListTasksRequest {
                order_by: "args".to_owned(),
                ..Default::default()
            },
            ["order_by", "first_seen"],
        ),
        (
            v1::ListTasksRequest {
                page_token: "nonsense".to_owned(),
                ..Default::default()
            },
            ["page_token", "not a token"],
        ),
        (
            v1::ListTasksRequest {
                search: "NOT x".to_owned(),
                ..Default::default()
            },
            ["search", "position"],
        ),
    ] {
        let (code, message) = refused(request).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_and_the_error_says_what_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_tasks(folder.path()).await;
    let mut client = server.inspection().await;
    let elsewhere = v1::ListTasksRequest {
        app: "shoop".to_owned(),
        ..Default::default()
    };
    let status = client.list_tasks(elsewhere).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("shop"), "{}", status.message());
    let worker = v1::GetWorkerRequest {
        name: "celery@w2".to_owned(),
        ..Default::default()
    };
    let status = server
        .inspection()
        .await
        .get_worker(worker)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(
        status.message().contains("celery@w1"),
        "{}",
        status.message()
    );
    server.end().await;
}

/// A root that is done, and what it called: one is done, one is not; and a task of another root.
#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_what_shares_a_root_finished_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    let mut w1 = worker();
    let mut events = w1.does(&id(0), "shop.order");
    for number in 1..=3 {
        let mut life = w1.does(&id(number), "shop.part");
        life[0].root_id = Some(id(if number == 3 { 99 } else { 0 }));
        life[0].parent_id = Some(id(0));
        if number == 2 {
            life.truncate(2);
        }
        events.extend(life);
    }
    inspector.send(1, events).await;
    inspector.acknowledged(1).await;
    let mut client = server.inspection().await;
    let mut request = v1::GetWorkflowRequest {
        root_id: id(0),
        page_size: 2,
        ..Default::default()
    };
    let first = client.get_workflow(request.clone()).await.unwrap();
    let first = first.into_inner();
    request.page_token = first.next_page_token;
    assert!(!request.page_token.is_empty());
    let rest = client.get_workflow(request.clone()).await.unwrap();
    let rest = rest.into_inner();
    assert_eq!(rest.next_page_token, "");
    let tasks: Vec<_> = first.tasks.into_iter().chain(rest.tasks).collect();
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, [id(0), id(1), id(2)]);
    let finished: Vec<bool> = tasks.iter().map(|task| task.finished).collect();
    assert_eq!(finished, [true, true, false]);
    assert_eq!(tasks[2].parent_id, Some(id(0)));

    for (root_id, code, says) in [
        (String::new(), Code::InvalidArgument, "root_id"),
        (id(7), Code::NotFound, "retention"),
    ] {
        request = v1::GetWorkflowRequest {
            root_id,
            ..Default::default()
        };
        let status = client.get_workflow(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    server.end().await;
}
