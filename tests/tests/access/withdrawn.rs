//! A token that is taken away ends what was opened with it.

use std::time::Duration;

use celeriac_proto::v1;
use celeriac_proto::v1::watch_service_client::WatchServiceClient;
use celeriac_tests::turn;
use tonic::{Code, Status, Streaming};

use crate::bed::TokenBed;
use crate::invented::{attach, open};
use crate::raw::call;

/// The promise is a minute; the file is read every 10 s, and streams are asked every 20 s.
const ENDS_WITHIN: Duration = Duration::from_mins(1);

async fn end_of<T>(mut stream: Streaming<T>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn streams_end_within_a_minute_when_their_token_is_taken_away() {
    let _turn = turn().await;
    let bed = TokenBed::start(&[]).await;
    attach(bed.of("inspector").await, "shop")
        .await
        .expect("it may");
    let viewer = bed.of("viewer").await;
    let watch = |known| async move {
        let mut client = WatchServiceClient::new(known);
        let stream = client.watch(v1::WatchRequest::default()).await;
        stream.expect("they may").into_inner()
    };
    let watched = watch(viewer.clone()).await;
    let mut kept = watch(bed.of("reader").await).await;
    let (_send, attached) = open(bed.of("bank-inspector").await, "bank")
        .await
        .expect("it may");
    bed.remove("viewer");
    let ended = tokio::time::timeout(ENDS_WITHIN, end_of(watched)).await;
    assert_eq!(ended.expect("it ends").code(), Code::Unauthenticated);
    let refused = call(&viewer, "InspectionService/ListApps", &[]).await;
    assert_eq!(
        refused.expect_err("it is gone").code(),
        Code::Unauthenticated
    );
    // This file has the viewer again, and the inspector of the bank no more.
    bed.remove("bank-inspector");
    let ended = tokio::time::timeout(ENDS_WITHIN, end_of(attached)).await;
    assert_eq!(ended.expect("it ends").code(), Code::Unauthenticated);
    let goes_on = tokio::time::timeout(ENDS_WITHIN, kept.message()).await;
    assert!(
        matches!(goes_on, Ok(Ok(Some(_)))),
        "others are not disturbed"
    );
}
