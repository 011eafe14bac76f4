//! Apps are apart: who may see one learns nothing of another, and an inspector of one writes nothing of another.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::turn;
use prost::Message as _;
use tonic::Code;

use crate::bed::TokenBed;
use crate::invented::{TASK, attach, open};
use crate::raw::{all, call};

fn mentions_shop(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|part| part == b"shop")
}

#[tokio::test]
async fn who_may_see_one_app_finds_no_word_of_another() {
    let _turn = turn().await;
    let bed = TokenBed::start(&[]).await;
    attach(bed.of("inspector").await, "shop")
        .await
        .expect("it may");
    attach(bed.of("bank-inspector").await, "bank")
        .await
        .expect("it may");
    let ping = v1::ExecuteCommandRequest {
        app: "shop".to_owned(),
        request_id: TASK.to_owned(),
        all_workers: true,
        command: Some(Command::Ping(v1::PingCommand {})),
        ..Default::default()
    };
    let operator = bed.of("operator").await;
    call(
        &operator,
        "ControlService/ExecuteCommand",
        &ping.encode_to_vec(),
    )
    .await
    .expect("the operator may");
    let (bank, both) = (bed.of("bank-viewer").await, bed.of("overseer").await);
    // Without a name: lists of what may be seen, and the only app of single reads.
    for method in [
        "InspectionService/ListApps",
        "InspectionService/ListWorkers",
        "InspectionService/ListTasks",
        "InspectionService/ListTaskNames",
        "InspectionService/ListGaps",
        "ControlService/ListCommands",
    ] {
        let answer = call(&bank, method, &[]).await.expect(method);
        assert!(!mentions_shop(&answer), "{method} tells a stranger of shop");
        let answer = call(&both, method, &[]).await.expect(method);
        // Nothing was missed yet.
        let hides = mentions_shop(&answer) || method.ends_with("ListGaps");
        assert!(hides, "{method} has nothing to hide here");
    }
    let app = call(&bank, "InspectionService/GetApp", &[]).await;
    let app = v1::GetAppResponse::decode(app.expect("they may see one").as_slice());
    assert_eq!(app.expect("an answer").app.expect("an app").name, "bank");
    let several = call(&both, "InspectionService/GetApp", &[]).await;
    let several = several.expect_err("there are two");
    assert!(several.message().contains("bank, shop"), "{several}");
    let watched = all(&bank, "WatchService/Watch", &[], 4)
        .await
        .expect("they may");
    assert!(!mentions_shop(&watched.concat()));
    // By name: refused in the same words, whether it is there or not.
    let refusal = async |app: &str| {
        let request = v1::GetAppRequest {
            app: app.to_owned(),
        }
        .encode_to_vec();
        let status = call(&bank, "InspectionService/GetApp", &request).await;
        let status = status.expect_err("it is not theirs");
        assert_eq!(status.code(), Code::PermissionDenied);
        status.message().replace(app, "APP")
    };
    assert_eq!(refusal("shop").await, refusal("nosuch").await);
    let request = v1::GetTaskRequest {
        app: "bank".to_owned(),
        id: "nosuch".to_owned(),
        ..Default::default()
    };
    let missing = call(&bank, "InspectionService/GetTask", &request.encode_to_vec()).await;
    let missing = missing.expect_err("it is not there");
    assert_eq!(missing.code(), Code::NotFound);
    assert!(!missing.message().contains("shop"), "{missing}");
}

#[tokio::test]
async fn a_forged_inspector_cannot_write_of_another_app() {
    let _turn = turn().await;
    let bed = TokenBed::start(&[]).await;
    attach(bed.of("inspector").await, "shop")
        .await
        .expect("it may");
    for who in ["bank-inspector", "operator", "overseer"] {
        let status = open(bed.of(who).await, "shop").await.map(drop);
        let status = status.expect_err("it is not theirs");
        assert_eq!(status.code(), Code::PermissionDenied, "{who}: {status}");
        assert!(status.message().contains("ingest"), "{status}");
    }
    let request = v1::GetAppRequest {
        app: "shop".to_owned(),
    };
    let viewer = bed.of("viewer").await;
    let app = call(
        &viewer,
        "InspectionService/GetApp",
        &request.encode_to_vec(),
    )
    .await;
    let app = v1::GetAppResponse::decode(app.expect("they may").as_slice());
    let app = app.expect("an answer").app.expect("an app");
    let inspector = app.inspector.expect("it has one");
    assert!(
        inspector.attached,
        "the one that was there goes on: {inspector:?}"
    );
}
