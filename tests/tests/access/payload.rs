//! What tasks carry is seen by those who may read payloads, and by nobody else: in no answer, stream, metric, log or error.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::turn;
use prost::Message;
use tonic::Code;

use crate::bed::{Known, TokenBed, page};
use crate::invented::{TASK, WORKER, attach, secret};
use crate::raw::{all, call};

/// Messages of a watch that are looked at: more than its snapshot here has.
const WATCHED: usize = 5;

fn full() -> i32 {
    v1::TaskView::Full.into()
}

/// Everything that can be read, as it is on the wire.
async fn everything(known: &Known, commands: &[String]) -> Vec<(String, Vec<u8>)> {
    let app = || "shop".to_owned();
    let mut reads = vec![
        ("ListApps", v1::ListAppsRequest::default().encode_to_vec()),
        ("GetApp", v1::GetAppRequest { app: app() }.encode_to_vec()),
        (
            "ListWorkers",
            v1::ListWorkersRequest::default().encode_to_vec(),
        ),
        (
            "GetWorker",
            v1::GetWorkerRequest {
                app: app(),
                name: WORKER.to_owned(),
            }
            .encode_to_vec(),
        ),
        (
            "ListTasks",
            v1::ListTasksRequest {
                view: full(),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "ListTaskNames",
            v1::ListTaskNamesRequest::default().encode_to_vec(),
        ),
        (
            "ListQueues",
            v1::ListQueuesRequest::default().encode_to_vec(),
        ),
        ("ListGaps", v1::ListGapsRequest::default().encode_to_vec()),
    ];
    for id in [TASK, "00000002-0000-4000-8000-000000000002"] {
        let (id, view) = (id.to_owned(), full());
        let request = v1::GetTaskRequest {
            app: app(),
            id,
            view,
        };
        reads.push(("GetTask", request.encode_to_vec()));
    }
    let mut found = Vec::new();
    for (method, message) in reads {
        let answer = call(known, &format!("InspectionService/{method}"), &message).await;
        found.push((method.to_owned(), answer.expect(method)));
    }
    let listed = v1::ListCommandsRequest::default().encode_to_vec();
    let listed = call(known, "ControlService/ListCommands", &listed).await;
    found.push(("ListCommands".to_owned(), listed.expect("they may read")));
    for id in commands {
        let request = v1::GetCommandRequest {
            app: app(),
            request_id: id.clone(),
        };
        let answer = call(known, "ControlService/GetCommand", &request.encode_to_vec()).await;
        found.push(("GetCommand".to_owned(), answer.expect("they may read")));
    }
    let watch = v1::WatchRequest {
        app: app(),
        task_view: full(),
        ..Default::default()
    };
    let watched = all(known, "WatchService/Watch", &watch.encode_to_vec(), WATCHED).await;
    found.push(("Watch".to_owned(), watched.expect("they may read").concat()));
    found
}

pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// Sends a command that bears a secret, as the operator; its record as they get it.
async fn command(known: &Known, command: Command) -> (String, v1::CommandRecord) {
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = v1::ExecuteCommandRequest {
        app: "shop".to_owned(),
        request_id: request_id.clone(),
        destination: vec![WORKER.to_owned()],
        command: Some(command),
        ..Default::default()
    };
    let answer = call(
        known,
        "ControlService/ExecuteCommand",
        &request.encode_to_vec(),
    )
    .await;
    let answer = answer.expect("the operator may");
    let answer = v1::ExecuteCommandResponse::decode(answer.as_slice()).expect("an answer");
    (request_id, answer.record.expect("it was recorded"))
}

/// Commands that bear a secret, or whose answers do.
fn secretive(planted: &str) -> [Command; 3] {
    [
        Command::Inspect(v1::InspectCommand {
            name: "active".to_owned(),
            arguments_json: String::new(),
        }),
        Command::Custom(v1::CustomCommand {
            name: "flush".to_owned(),
            arguments_json: format!("{{\"password\": \"{planted}\"}}"),
        }),
        Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
            headers: [("user".to_owned(), planted.to_owned())].into(),
            ..Default::default()
        }),
    ]
}

/// Where a reader finds payloads.
const PLACES: [&str; 7] = [
    "GetApp",
    "GetWorker",
    "ListTasks",
    "GetTask",
    "ListCommands",
    "GetCommand",
    "Watch",
];

#[tokio::test]
async fn payloads_are_for_those_who_may_read_them_wherever_they_could_show() {
    let _turn = turn().await;
    let bed = TokenBed::start(&["--allow-command", "flush"]).await;
    attach(bed.of("inspector").await, "shop")
        .await
        .expect("it may");
    let (viewer, reader) = (bed.of("viewer").await, bed.of("reader").await);
    let operator = bed.of("operator").await;
    let planted = secret("shop");
    let mut ids = Vec::new();
    for sent in secretive(&planted) {
        let (id, record) = command(&operator, sent).await;
        assert_eq!(record.principal, "operator");
        let mut answered = record.answers.iter().filter(|answer| answer.time.is_some());
        // How much it says is no payload.
        let entries = answered.next().map(|answer| answer.entries);
        assert_eq!(
            (entries, answered.next()),
            (Some(Some(1)), None),
            "{record:?}"
        );
        assert!(!format!("{record:?}").contains(&planted), "{record:?}");
        ids.push(id);
    }
    let shown = everything(&reader, &ids).await;
    for place in PLACES {
        let mut there = shown.iter().filter(|(name, _)| name == place);
        assert!(
            there.any(|(_, bytes)| holds(bytes, &planted)),
            "a reader sees it in {place}, or this test looks at nothing"
        );
    }
    for (place, bytes) in everything(&viewer, &ids).await {
        assert!(!holds(&bytes, &planted), "a viewer sees it in {place}");
    }
    let metrics = page(
        &bed.bed,
        "/metrics",
        &["--oauth2-bearer", bed.token("metrics")],
    );
    assert!(metrics.contains("shop.task") && !metrics.contains(&planted));
    let log = bed.bed.process.log();
    assert!(log.contains("allowed") && !log.contains(&planted), "{log}");
    for token in bed.all_tokens() {
        assert!(!log.contains(token), "a token is in the log");
        assert!(!data_holds(&bed, token), "a token is in the database");
    }
    assert!(data_holds(&bed, "operator"), "the database is looked at");
}

/// Whether a text is in any file of the database.
fn data_holds(bed: &TokenBed, text: &str) -> bool {
    let files = std::fs::read_dir(bed.bed.data.path()).expect("the data folder is there");
    files
        .map(|file| file.expect("it can be listed").path())
        .filter(|path| path.is_file())
        .any(|path| holds(&std::fs::read(path).expect("it can be read"), text))
}

#[tokio::test]
async fn what_is_in_payloads_cannot_be_found_out_by_asking_for_it() {
    let _turn = turn().await;
    let bed = TokenBed::start(&[]).await;
    attach(bed.of("inspector").await, "shop")
        .await
        .expect("it may");
    let (viewer, reader) = (bed.of("viewer").await, bed.of("reader").await);
    for (filter, search) in [
        ("args:planted", ""),
        ("kwargs.password:\"planted*\"", ""),
        ("NOT exception:zzz", ""),
        ("", "planted"),
        ("", "kwargs:password=planted"),
    ] {
        for app in ["shop", ""] {
            let request = v1::ListTasksRequest {
                app: app.to_owned(),
                filter: filter.to_owned(),
                search: search.to_owned(),
                ..Default::default()
            };
            let message = request.encode_to_vec();
            let refused = call(&viewer, "InspectionService/ListTasks", &message).await;
            let status = refused.expect_err(filter);
            assert_eq!(status.code(), Code::PermissionDenied, "{status}");
            assert!(status.message().contains("payload"), "{status}");
            let found = call(&reader, "InspectionService/ListTasks", &message).await;
            found.expect("a reader may");
        }
        if !filter.is_empty() {
            let request = v1::WatchRequest {
                app: "shop".to_owned(),
                task_filter: filter.to_owned(),
                ..Default::default()
            };
            let refused = call(&viewer, "WatchService/Watch", &request.encode_to_vec()).await;
            assert_eq!(refused.expect_err(filter).code(), Code::PermissionDenied);
        }
    }
}
