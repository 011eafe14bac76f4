//! `watch`.

use celeriac_client::{Update, v1};

use super::Session;
use crate::args::Format;
use crate::canonical::Canonical;
use crate::output::Failure;
use crate::render::units::span;
use crate::render::watch::Lines;

/// Prints changes until it is stopped or refused.
pub(super) async fn follow(
    session: &mut Session,
    request: v1::WatchRequest,
) -> Result<(), Failure> {
    let mut watch = session.client.watch(request);
    let mut lines = Lines::default();
    let mut first = true;
    loop {
        let message = match watch.next().await? {
            Update::Message(message) => message,
            Update::Interrupted { error, retry_in } => {
                let delay = span(retry_in.try_into().unwrap_or(jiff::SignedDuration::MAX));
                session
                    .output
                    .note(&format!("{error}; trying again in {delay}"));
                continue;
            }
        };
        let text = match session.output.format() {
            Format::Json => Canonical::new(&*message).json_line()?,
            Format::Yaml => {
                let separator = if first { "" } else { "---\n" };
                format!("{separator}{}", Canonical::new(&*message).yaml()?)
            }
            Format::Table | Format::Wide => lines.of(&message, &session.output.view()),
        };
        first = false;
        if !text.is_empty() {
            session.output.text(&text)?;
        }
    }
}
