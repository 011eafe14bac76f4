//! (c) How long a page of tasks takes over gRPC, by filter and order, first pages and those after them.

use std::time::Instant;

use anyhow::Result;
use celeriac_proto::v1::inspection_service_client::InspectionServiceClient;
use celeriac_proto::v1::{ListTasksRequest, ListTasksResponse};
use celeriac_tests::Aggregator;
use tonic::transport::Channel;

use crate::table::{Spread, Table};

/// Filters and orders over columns: what the budget of 50 ms is about.
const COLUMNS: [(&str, &str); 15] = [
    ("", ""),
    ("", "first_seen asc"),
    ("", "finish_seen desc"),
    ("", "runtime desc"),
    ("", "name asc"),
    ("", "state asc"),
    ("", "worker desc"),
    ("state = FAILURE", ""),
    ("state = FAILURE", "name asc"),
    ("name = \"shop.tasks.kind7\"", ""),
    ("name = \"shop.tasks.kind7\"", "runtime desc"),
    (
        "worker = \"celery@worker-3\" AND state = SUCCESS",
        "last_seen desc",
    ),
    ("runtime > 9.99", ""),
    ("state = RETRY", ""),
    // As `GetWorkflow` asks.
    (
        "root_id = \"no-such-root\" OR id = \"no-such-root\"",
        "first_seen",
    ),
];
/// A text that no task holds: everything is looked at.
const TEXT: &str = "args:\"no-such-customer\"";

/// Asks `runs` times for the first page of each, and for as many pages after it.
pub(crate) async fn measure(aggregator: &Aggregator, runs: usize) -> Result<Table> {
    let mut client = aggregator.inspection().await?;
    let mut table = Table::new(&[
        "a page of 50",
        "order",
        "p50 ms",
        "p99 ms",
        "deep p50 ms",
        "deep p99 ms",
        "rows",
    ]);
    for (filter, order_by) in COLUMNS {
        let first = ListTasksRequest {
            page_size: 50,
            filter: filter.to_owned(),
            order_by: order_by.to_owned(),
            ..ListTasksRequest::default()
        };
        let (mut firsts, mut deep) = (Vec::new(), Vec::new());
        let mut page = ListTasksResponse::default();
        for _ in 0..runs {
            let took;
            (took, page) = timed(&mut client, &first).await?;
            firsts.push(took);
        }
        let rows = page.tasks.len();
        // Far down at once: large pages lead there.
        let mut token = std::mem::take(&mut page.next_page_token);
        for step in 0..runs + DIVE {
            if token.is_empty() {
                break;
            }
            let request = ListTasksRequest {
                page_size: if step < DIVE { 1_000 } else { 50 },
                page_token: token,
                ..first.clone()
            };
            let took;
            (took, page) = timed(&mut client, &request).await?;
            if step >= DIVE {
                deep.push(took);
            }
            token = std::mem::take(&mut page.next_page_token);
        }
        let shown = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let (p50, p99) = percentiles(firsts);
        let (deep50, deep99) = percentiles(deep);
        table.row(vec![
            shown(filter),
            shown(order_by),
            p50,
            p99,
            deep50,
            deep99,
            rows.to_string(),
        ]);
    }
    Ok(table)
}

/// Pages of 1,000 before the deep ones.
const DIVE: usize = 20;

/// Scans all for a text; slices, the slowest and the whole in one line.
pub(crate) async fn scan(aggregator: &Aggregator) -> Result<String> {
    let mut client = aggregator.inspection().await?;
    let mut request = ListTasksRequest {
        page_size: 50,
        search: TEXT.to_owned(),
        ..ListTasksRequest::default()
    };
    let (mut slices, mut scanned) = (Vec::new(), 0);
    loop {
        let (took, page) = timed(&mut client, &request).await?;
        slices.push(took);
        scanned += page.scan.as_ref().map_or(0, |scan| scan.scanned);
        anyhow::ensure!(page.tasks.is_empty(), "no task holds this text");
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let (count, all) = (slices.len(), slices.iter().sum::<f64>());
    let spread = Spread::of(slices);
    Ok(format!(
        "text scan {TEXT}: {scanned} tasks in {count} slices, {all:.0} ms in all; a slice {:.0} ms, {:.0} ms at most",
        spread.median, spread.max
    ))
}

async fn timed(
    client: &mut InspectionServiceClient<Channel>,
    request: &ListTasksRequest,
) -> Result<(f64, ListTasksResponse)> {
    let begin = Instant::now();
    let response = client.list_tasks(request.clone()).await?.into_inner();
    Ok((begin.elapsed().as_secs_f64() * 1e3, response))
}

/// The median and the 99th percentile; of few samples the latter is the largest.
fn percentiles(mut values: Vec<f64>) -> (String, String) {
    values.sort_by(f64::total_cmp);
    let shown = |value: Option<&f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let p99 = (values.len() * 99).div_ceil(100).saturating_sub(1);
    (shown(values.get(values.len() / 2)), shown(values.get(p99)))
}
