//! Gaps as people ask for them: app-wide and of one worker, page by page, with the API and the command line.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use celeriac_proto::v1::{Gap, GapCause, ListGapsRequest, ListGapsResponse};
use celeriac_tests::ingest::{Attached, WORKER, batch};
use celeriac_tests::{Aggregator, celeriac};
use prost_types::Timestamp;
use serde_json::Value;
use tonic::Code;

/// A gap of ten minutes that began so many hours ago.
fn gap(hours: u64, cause: GapCause, worker: Option<&str>) -> Gap {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let start = now.expect("it is after 1970").as_secs() - hours * 3_600;
    let time = |seconds: u64| Timestamp {
        seconds: i64::try_from(seconds).expect("times of today fit"),
        nanos: 0,
    };
    Gap {
        cause: cause.into(),
        start_time: Some(time(start)),
        end_time: Some(time(start + 600)),
        worker: worker.map(str::to_owned),
        missed_starts: Some(hours),
        detail: format!("{hours} hours ago"),
        ..Default::default()
    }
}

async fn page(
    aggregator: &Aggregator,
    request: ListGapsRequest,
) -> anyhow::Result<ListGapsResponse> {
    let mut client = aggregator.inspection().await?;
    Ok(client.list_gaps(request).await?.into_inner())
}

/// Everything that is listed, read in pages of that size: how many hours ago each began.
async fn listed(aggregator: &Aggregator, worker: &str, size: i32) -> anyhow::Result<Vec<u64>> {
    let mut hours = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListGapsRequest {
            page_size: size,
            page_token,
            worker: worker.to_owned(),
            ..Default::default()
        };
        let found = page(aggregator, request).await?;
        assert!(found.gaps.len() <= usize::try_from(size)?);
        for gap in found.gaps {
            hours.push(gap.missed_starts.context("each is counted")?);
        }
        page_token = found.next_page_token;
        if page_token.is_empty() {
            return Ok(hours);
        }
    }
}

fn table(aggregator: &Aggregator, arguments: &[&str]) -> String {
    let output = celeriac(aggregator.address(), arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

async fn refuses_what_it_cannot_list(aggregator: &Aggregator) {
    let refused = |request| async {
        let error = page(aggregator, request).await.expect_err("it is refused");
        error.downcast::<tonic::Status>().expect("by the service")
    };
    let unknown = refused(ListGapsRequest {
        worker: "celery@w0rker".to_owned(),
        ..Default::default()
    });
    let unknown = unknown.await;
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains(WORKER), "{unknown}");
    let first = page(
        aggregator,
        ListGapsRequest {
            page_size: 1,
            ..Default::default()
        },
    );
    let foreign = refused(ListGapsRequest {
        page_token: first.await.expect("it serves").next_page_token,
        worker: WORKER.to_owned(),
        ..Default::default()
    });
    assert_eq!(foreign.await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn gaps_are_listed_for_the_app_and_for_each_worker() {
    let mut aggregator = Aggregator::builder().start().await;
    let server = format!("http://{}", aggregator.address());
    let mut inspector = Attached::open(&server, "lists", 1)
        .await
        .expect("it takes inspectors");
    let mut first = batch(1);
    first.gaps = vec![
        gap(5, GapCause::Reconnect, None),
        gap(5, GapCause::Reconnect, Some(WORKER)),
        gap(4, GapCause::Overflow, None),
        gap(4, GapCause::Overflow, Some("celery@gone")),
        gap(3, GapCause::Unexplained, Some(WORKER)),
        gap(1, GapCause::Reconnect, None),
        gap(2, GapCause::Reconnect, None),
    ];
    inspector.send(first).await.expect("it reads");
    let acknowledged = inspector.acknowledgement().await;
    assert_eq!(acknowledged.expect("it answers"), 1);

    let expected = BTreeMap::from([
        ("", vec![1, 2, 3, 4, 5]),
        (WORKER, vec![3, 5]),
        ("celery@gone", vec![4]),
    ]);
    for restarted in [false, true] {
        if restarted {
            aggregator.restart().await;
        }
        for (worker, hours) in &expected {
            for size in [1, 2, 50] {
                let found = listed(&aggregator, worker, size).await;
                assert_eq!(&found.expect("it serves"), hours, "{worker} by {size}");
            }
        }
    }
    refuses_what_it_cannot_list(&aggregator).await;

    let all = table(&aggregator, &["gaps"]);
    let details: Vec<&str> = all
        .lines()
        .skip(1)
        .filter_map(|line| line.rsplit("  ").next())
        .collect();
    let ago = |hours: u64| format!("{hours} hours ago");
    assert_eq!(details, [1, 2, 3, 4, 5].map(ago), "{all}");
    let json = table(&aggregator, &["gaps", "--worker", WORKER, "-o", "json"]);
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    let missed: Vec<&Value> = (json["gaps"].as_array().into_iter().flatten())
        .map(|gap| &gap["missedStarts"])
        .collect();
    assert_eq!(missed, ["3", "5"], "{json}");
}
