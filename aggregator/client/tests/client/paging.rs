//! Lists over several pages.

use celeriac_client::{Error, v1};

use crate::fake::{Fake, Script, task};

fn fake(tasks: usize) -> Fake {
    let tasks = (0..tasks)
        .map(|number| task(&format!("t{number}"), "SUCCESS"))
        .collect();
    Fake::start(Script {
        tasks,
        ..Script::default()
    })
}

fn sizes(fake: &Fake) -> Vec<String> {
    let size = |call: &String| call.split(' ').nth(1).expect("a size").to_owned();
    fake.script().calls.iter().map(size).collect()
}

#[tokio::test]
async fn all_pages_become_one_list() {
    let fake = fake(2_345);
    let pages = fake.client().pages(v1::ListTasksRequest::default(), None);
    let merged = pages.merged().await.expect("it is answered");
    assert_eq!(merged.tasks.len(), 2_345);
    assert!(
        merged
            .tasks
            .iter()
            .enumerate()
            .all(|(at, task)| task.id == format!("t{at}"))
    );
    assert_eq!(merged.next_page_token, "");
    assert_eq!(
        merged.as_of.expect("a time").seconds,
        1,
        "nothing in it is older than this"
    );
    assert_eq!(
        merged.scan.expect("a scan"),
        v1::ScanProgress {
            scanned: 300,
            total: 1_000
        }
    );
    assert_eq!(sizes(&fake), ["1000", "1000", "1000"]);
}

#[tokio::test]
async fn a_limit_is_kept_and_the_last_token_stays() {
    let fake = fake(2_345);
    let pages = fake
        .client()
        .pages(v1::ListTasksRequest::default(), Some(1_200));
    let merged = pages.merged().await.expect("it is answered");
    assert_eq!(
        (merged.tasks.len(), merged.next_page_token.as_str()),
        (1_200, "1200")
    );
    assert_eq!(sizes(&fake), ["1000", "200"]);
}

#[tokio::test]
async fn full_tasks_come_in_small_pages() {
    let fake = fake(250);
    let request = v1::ListTasksRequest {
        view: v1::TaskView::Full.into(),
        ..Default::default()
    };
    let merged = fake
        .client()
        .pages(request, None)
        .merged()
        .await
        .expect("it is answered");
    assert_eq!(merged.tasks.len(), 250);
    assert_eq!(sizes(&fake), ["100", "100", "100"]);
}

#[tokio::test]
async fn an_empty_page_is_not_the_end() {
    let fake = fake(3);
    fake.script().empty_pages = true;
    let pages = fake
        .client()
        .pages(v1::ListTasksRequest::default(), Some(2));
    let merged = pages.merged().await.expect("it is answered");
    assert_eq!(merged.tasks.len(), 2);
    assert_eq!(sizes(&fake), ["2", "2"]);
}

#[tokio::test]
async fn a_list_that_does_not_move_on_is_an_error() {
    let fake = fake(3);
    fake.script().stuck = true;
    let pages = fake.client().pages(v1::ListTasksRequest::default(), None);
    let error = pages.merged().await.expect_err("it would never end");
    assert!(matches!(error, Error::Contract { .. }), "{error:?}");
}
