//! `ListGaps`.

use celeriac_proto::v1;
use tonic::Status;

use super::super::{Reads, convert, page, time};
use super::{apps, in_order, known_app};
use crate::access::Sight;
use crate::state::Gap;

/// A page of gaps.
///
/// # Errors
/// An argument cannot be used, or what it names is not known.
pub(super) fn list(
    reads: &Reads,
    request: v1::ListGapsRequest,
    sight: &Sight,
) -> Result<v1::ListGapsResponse, Status> {
    let v1::ListGapsRequest {
        app,
        page_size,
        page_token,
        worker,
    } = request;
    let fingerprint = page::fingerprint(("gaps", &app, &worker));
    let after = page::read_token(&page_token, fingerprint)?;
    let board = reads.board.read();
    known_app(&board, sight, &app)?;
    let mut all = Vec::new();
    let mut known = worker.is_empty();
    for (name, app) in apps(&board, sight, &app) {
        known |= app.state.worker(&worker).is_some();
        for gap in app.state.gaps() {
            let is_meant = match &gap.worker {
                _ if worker.is_empty() => convert::is_of_app(gap),
                Some(of) => **of == *worker,
                None => false,
            };
            if is_meant {
                all.push((name.to_owned(), place(gap), (name, gap)));
            }
        }
    }
    if !known && all.is_empty() {
        let workers = apps(&board, sight, &app).flat_map(|(_, app)| app.state.workers());
        let names = workers.map(|worker| worker.name.to_string());
        return Err(page::not_found("worker", &worker, names));
    }
    let size = page::size(page_size)?;
    let (found, next_page_token) = page::by_name(in_order(all), after, size, fingerprint);
    let gaps = found.into_iter().map(|(app, gap)| convert::gap(app, gap));
    Ok(v1::ListGapsResponse {
        gaps: gaps.collect(),
        next_page_token,
        as_of: Some(time::micros(time::now())),
    })
}

/// Where a gap stands in the list, as text: the newest first. It stays where it is when it ends or is counted.
fn place(gap: &Gap) -> String {
    let age = u64::MAX - gap.start.max(0).cast_unsigned();
    let worker = gap.worker.as_deref().unwrap_or_default();
    format!("{age:016x} {worker} {:?}", gap.cause)
}
