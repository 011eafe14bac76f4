//! `task-names`.

use celeriac_client::v1;

use super::{Session, several_apps};
use crate::output::Failure;
use crate::render::task_names;

const NONE: &str = "no task names: no task event has been seen yet. Are events on? Start workers with `celery worker -E`, or \
                    set worker_send_task_events = True.";

/// Lists task names with statistics.
pub(super) async fn list(
    session: &mut Session,
    request: v1::ListTaskNamesRequest,
) -> Result<(), Failure> {
    let response = session.all(request).await?;
    let names = &response.task_names;
    let several = several_apps(names.iter().map(|name| name.app.as_str()));
    session.output.response(&response, |view| {
        task_names::table(names, several, view).render(view)
    })?;
    if names.is_empty() && session.output.for_a_person() {
        session.output.note(NONE);
    }
    Ok(())
}
