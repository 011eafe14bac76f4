//! `workers` and `worker`.

use std::fmt::Write as _;

use celeriac_client::v1;

use super::{Session, apps, several_apps};
use crate::output::Failure;
use crate::render::text::Tone;
use crate::render::{View, advice, worker, workers};

const NONE: &str = "no workers: none has been heard of yet. A worker shows up with its first heartbeat (every 2 s), or when \
                    it answers a ping; one started with --without-heartbeat and without -E may take minutes.";
const NO_MATCH: &str = "no worker matches the filter";

/// Lists workers; wide, with the gaps of their apps.
pub(super) async fn list(
    session: &mut Session,
    request: v1::ListWorkersRequest,
) -> Result<(), Failure> {
    let filtered = !request.filter.is_empty();
    if !session.output.for_a_person() {
        let response = session.all(request).await?;
        return session.output.response(&response, |_| String::new());
    }
    let (response, apps) = tokio::try_join!(session.all(request), session.apps())?;
    let workers = &response.workers;
    session
        .output
        .response(&response, |view| table(workers, &apps, view))?;
    if workers.is_empty() {
        session.output.note(if filtered { NO_MATCH } else { NONE });
    }
    apps::footer(session, &apps, workers);
    Ok(())
}

fn table(list: &[v1::Worker], apps: &[v1::App], view: &View) -> String {
    let name_apps = several_apps(list.iter().map(|worker| worker.app.as_str()));
    let mut out = workers::table(list, name_apps, view).render(view);
    let gaps = advice::gaps(apps.iter().flat_map(|app| &app.gaps), view);
    if view.wide && !gaps.is_empty() {
        let _ = write!(
            out,
            "\n{}\n{}",
            Tone::Strong.paint("Gaps", view.color),
            gaps.render(view)
        );
    }
    out
}

/// Shows one worker.
pub(super) async fn show(
    session: &mut Session,
    request: v1::GetWorkerRequest,
) -> Result<(), Failure> {
    let response = session.client.get_worker(request).await?;
    let worker = response
        .worker
        .as_ref()
        .ok_or_else(|| session.lacking("it holds no worker"))?;
    session
        .output
        .response(&response, |view| worker::detail(worker, view))?;
    if session.output.for_a_person() {
        for line in advice::lines(&[], std::slice::from_ref(worker), false) {
            session.output.note(&line);
        }
    }
    Ok(())
}
