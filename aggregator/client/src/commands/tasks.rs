//! `tasks` and `task`.

use std::num::NonZeroU64;

use celeriac_client::{Page as _, v1};

use super::{Session, several_apps};
use crate::output::Failure;
use crate::render::{task, tasks};

const NONE: &str = "no tasks: no task event has been seen yet. Are events on? Start workers with `celery worker -E`, or set \
                    worker_send_task_events = True.";
const NO_MATCH: &str = "no task matches";

/// Lists tasks, at most `limit`; says on a terminal how far a long scan is.
pub(super) async fn list(
    session: &mut Session,
    request: v1::ListTasksRequest,
    limit: Option<NonZeroU64>,
) -> Result<(), Failure> {
    let narrowed = !request.filter.is_empty() || !request.search.is_empty();
    let mut pages = session.client.pages(request, limit.map(NonZeroU64::get));
    let mut merged: Option<v1::ListTasksResponse> = None;
    while let Some(page) = pages.next().await? {
        match &mut merged {
            None => merged = Some(page),
            Some(earlier) => earlier.merge(page),
        }
        if let Some(response) = merged.as_ref().filter(|_| pages.has_next()) {
            session.output.progress(&how_far(response));
        }
    }
    let response = merged.unwrap_or_default();
    let several = several_apps(response.tasks.iter().map(|task| task.app.as_str()));
    session.output.response(&response, |view| {
        tasks::table(&response.tasks, several, view).render(view)
    })?;
    if session.output.for_a_person() {
        if response.tasks.is_empty() {
            session.output.note(if narrowed { NO_MATCH } else { NONE });
        } else if !response.next_page_token.is_empty() {
            let shown = response.tasks.len();
            session.output.note(&format!(
                "{shown} shown, there are more: --limit N or --all"
            ));
        }
    }
    Ok(())
}

fn how_far(response: &v1::ListTasksResponse) -> String {
    let found = response.tasks.len();
    match &response.scan {
        Some(scan) => {
            format!(
                "{found} found, {} of about {} finished tasks looked at",
                scan.scanned, scan.total
            )
        }
        None => format!("{found} found"),
    }
}

/// Shows one task.
pub(super) async fn show(
    session: &mut Session,
    request: v1::GetTaskRequest,
) -> Result<(), Failure> {
    let response = session.client.get_task(request).await?;
    let task = response
        .task
        .as_ref()
        .ok_or_else(|| session.lacking("it holds no task"))?;
    session
        .output
        .response(&response, |view| task::detail(task, view))
}
