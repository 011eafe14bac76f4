//! `gaps`.

use std::num::NonZeroU64;

use celeriac_client::v1;

use super::Session;
use crate::output::Failure;
use crate::render::advice;

const NONE: &str = "no gaps: nothing is known to have been missed";

/// Lists gaps.
pub(super) async fn list(
    session: &mut Session,
    request: v1::ListGapsRequest,
    limit: NonZeroU64,
) -> Result<(), Failure> {
    let pages = session.client.pages(request, Some(limit.get()));
    let response = pages.merged().await?;
    session.output.response(&response, |view| {
        advice::gaps(response.gaps.iter(), view).render(view)
    })?;
    if response.gaps.is_empty() && session.output.for_a_person() {
        session.output.note(NONE);
    }
    Ok(())
}
