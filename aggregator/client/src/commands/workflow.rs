//! `workflow`.

use std::num::NonZeroU64;

use celeriac_client::{Error, v1};
use tonic::Code;

use super::Session;
use crate::output::Failure;
use crate::render::workflow;

/// Shows the workflow of a task, at most `limit` tasks of it.
pub(super) async fn show(
    session: &mut Session,
    task: v1::GetTaskRequest,
    limit: NonZeroU64,
) -> Result<(), Failure> {
    let request = root(session, task).await?;
    let pages = session.client.pages(request, Some(limit.get()));
    let response = pages.merged().await?;
    session.output.response(&response, |view| {
        workflow::table(&response.tasks, view).render(view)
    })?;
    if session.output.for_a_person() && !response.next_page_token.is_empty() {
        let shown = response.tasks.len();
        session
            .output
            .note(&format!("{shown} shown, there are more: --limit N"));
    }
    Ok(())
}

/// Where it begins. A task that is not known any more may be the root of others that are.
async fn root(
    session: &Session,
    task: v1::GetTaskRequest,
) -> Result<v1::GetWorkflowRequest, Failure> {
    let (app, root_id) = match session.client.get_task(task.clone()).await {
        Ok(response) => {
            let task = response
                .task
                .ok_or_else(|| session.lacking("it holds no task"))?;
            (task.app, task.root_id.unwrap_or(task.id))
        }
        Err(Error::Refused(refusal)) if refusal.code == Code::NotFound => (task.app, task.id),
        Err(error) => return Err(error.into()),
    };
    Ok(v1::GetWorkflowRequest {
        app,
        root_id,
        ..Default::default()
    })
}
