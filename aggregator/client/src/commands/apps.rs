//! `apps`.

use celeriac_client::v1;

use super::Session;
use crate::output::Failure;
use crate::render::{advice, apps};

const NONE: &str = "no apps: no inspector has attached yet. Start celeriac-aggregator with --broker URL, or a \
                    celeriac-inspector that attaches to it.";

/// Lists apps, or shows the one named by `--app`.
pub(super) async fn list(session: &mut Session) -> Result<(), Failure> {
    let apps = if session.app.is_empty() {
        let response = session.all(v1::ListAppsRequest::default()).await?;
        session
            .output
            .response(&response, |view| apps::table(&response.apps, view))?;
        response.apps
    } else {
        let request = v1::GetAppRequest {
            app: session.app.clone(),
        };
        let response = session.client.get_app(request).await?;
        session
            .output
            .response(&response, |view| apps::table(response.app.as_slice(), view))?;
        response.app.into_iter().collect()
    };
    if session.output.for_a_person() {
        if apps.is_empty() {
            session.output.note(NONE);
        }
        footer(session, &apps, &[]);
    }
    Ok(())
}

/// What a person should know or change, on standard error.
pub(super) fn footer(session: &mut Session, apps: &[v1::App], workers: &[v1::Worker]) {
    let name_apps = apps.len() > 1;
    for line in apps::unreachable(apps)
        .iter()
        .chain(&advice::lines(apps, workers, name_apps))
    {
        session.output.note(line);
    }
}
