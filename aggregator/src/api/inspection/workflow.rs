//! One workflow: the tasks that share a root, as a list of tasks with a filter of ours.

use celeriac_proto::v1;
use tonic::Status;

use super::tasks;
use crate::access::Sight;
use crate::api::{Reads, app_name, page};

/// Size of a page when none is asked for.
const DEFAULT: i32 = 1_000;

/// One page, the oldest task first.
pub(super) fn read(
    reads: &Reads,
    request: v1::GetWorkflowRequest,
    sight: &Sight,
) -> Result<v1::GetWorkflowResponse, Status> {
    let v1::GetWorkflowRequest {
        app,
        root_id,
        page_size,
        page_token,
    } = request;
    if root_id.is_empty() {
        return Err(page::invalid("root_id", "must not be empty"));
    }
    let app = app_name(&reads.board.read(), sight, &app)?;
    let list = v1::ListTasksRequest {
        app: app.clone(),
        filter: filter(&root_id),
        order_by: "first_seen".to_owned(),
        page_size: if page_size == 0 { DEFAULT } else { page_size },
        page_token,
        ..Default::default()
    };
    let found = tasks::list(reads, &list, sight)?;
    let is_all = list.page_token.is_empty() && found.next_page_token.is_empty();
    if is_all && found.tasks.is_empty() {
        return Err(Status::not_found(format!(
            "no task of a workflow with the root {root_id:?}; they may be older than the retention, or their events were \
             never seen"
        )));
    }
    Ok(v1::GetWorkflowResponse {
        tasks: found.tasks,
        next_page_token: found.next_page_token,
    })
}

/// What tells the tasks of a workflow. Of a root that only its worker told of, nothing may have said that it is one.
fn filter(root_id: &str) -> String {
    let mut quoted = String::with_capacity(root_id.len() + 2);
    quoted.push('"');
    for letter in root_id.chars() {
        if matches!(letter, '*' | '\\' | '"') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    format!("root_id = {quoted} OR id = {quoted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use crate::state::{Task, TaskId};

    proptest::proptest! {
        /// An id is whatever its sender made of it.
        #[test]
        fn a_filter_is_about_that_root_and_no_other(root in "[a-z*\\\\\"' ()=]{1,12}", other in "[a-z*\\\\\"' ()=]{1,12}") {
            let query = Query::new(&filter(&root), "").expect("a filter");
            let of = |id: &str, root: Option<&str>| {
                let mut task = Task::new(TaskId::from(id), 0);
                task.root_id = root.map(TaskId::from);
                query.matches(&task)
            };
            proptest::prop_assert!(of("a child", Some(&root)));
            proptest::prop_assert!(of(&root, None));
            proptest::prop_assert_eq!(of("a child", Some(&other)), other == root);
        }
    }
}
