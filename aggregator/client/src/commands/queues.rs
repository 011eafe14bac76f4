//! `queues`.

use celeriac_client::v1;

use super::{Session, several_apps};
use crate::output::Failure;
use crate::render::queues;

const NONE: &str = "no queues: none is known yet. Queues are learned from workers (active_queues) and from the broker; \
                    `celeriac apps` tells whether the broker is reached.";

/// Lists queues.
pub(super) async fn list(
    session: &mut Session,
    request: v1::ListQueuesRequest,
) -> Result<(), Failure> {
    let response = session.all(request).await?;
    let several = several_apps(response.queues.iter().map(|queue| queue.app.as_str()));
    session.output.response(&response, |view| {
        queues::table(&response.queues, several, view).render(view)
    })?;
    if response.queues.is_empty() && session.output.for_a_person() {
        session.output.note(NONE);
    }
    Ok(())
}
