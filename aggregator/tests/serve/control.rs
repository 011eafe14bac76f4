//! `ControlService`, by the words of its proto comment, with an inspector that the test plays.

use celeriac_proto::v1;
use celeriac_proto::v1::attach_response::Message as Response;
use celeriac_proto::v1::control_service_client::ControlServiceClient;
use celeriac_proto::v1::execute_command_request::Command;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::bench::{Inspector, PATIENCE, Server, worker};

const ID: &str = "8f14e45f-ceea-4d7c-9b1a-0f7f3a2b6c1d";

/// Adds two processes to `celery@w1`; waits five seconds.
fn grow(request_id: &str) -> v1::ExecuteCommandRequest {
    v1::ExecuteCommandRequest {
        request_id: request_id.to_owned(),
        destination: vec!["celery@w1".to_owned()],
        reason: "a test".to_owned(),
        command: Some(Command::PoolGrow(v1::PoolGrowCommand { count: 2 })),
        ..Default::default()
    }
}

pub(crate) fn waits(seconds: i64, request: v1::ExecuteCommandRequest) -> v1::ExecuteCommandRequest {
    let wait = Some(prost_types::Duration { seconds, nanos: 0 });
    v1::ExecuteCommandRequest { wait, ..request }
}

impl Server {
    async fn control(&self) -> ControlServiceClient<Channel> {
        ControlServiceClient::new(self.channel().await)
    }

    /// Asks in the background.
    pub(crate) async fn execute(
        &self,
        request: v1::ExecuteCommandRequest,
    ) -> tokio::task::JoinHandle<Result<v1::CommandRecord, Status>> {
        let mut control = self.control().await;
        tokio::spawn(async move {
            let response = control.execute_command(request).await?;
            Ok(response.into_inner().record.unwrap())
        })
    }

    async fn recorded(&self, request_id: &str) -> v1::CommandRecord {
        let request = v1::GetCommandRequest {
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let response = self.control().await.get_command(request).await.unwrap();
        response.into_inner().record.unwrap()
    }
}

impl Inspector {
    /// Makes `celery@w1` known with batch 1.
    pub(crate) async fn with_worker(mut self) -> Self {
        self.send(1, vec![worker().heartbeat()]).await;
        self.acknowledged(1).await;
        self
    }

    pub(crate) async fn ordered(&mut self) -> v1::CommandOrder {
        loop {
            match self.hear().await.unwrap() {
                Some(Response::Command(order)) => return order,
                Some(_) => {}
                None => panic!("the stream ended before a command came"),
            }
        }
    }

    pub(crate) async fn report(&self, sequence: u64, report: v1::CommandReport) {
        let batch = v1::Batch {
            sequence,
            commands: vec![report],
            ..v1::Batch::default()
        };
        self.send_batch(batch).await;
    }
}

pub(crate) fn published(request_id: &str) -> v1::CommandReport {
    v1::CommandReport {
        request_id: request_id.to_owned(),
        publication: Some(v1::CommandPublication {
            outcome: v1::CommandOutcome::Published.into(),
            published_micros: Some(1_795_347_000_000_000),
            subscribers: Some(1),
            reason: String::new(),
        }),
        replies: Vec::new(),
    }
}

fn replied(request_id: &str, worker: &str, value_json: &str) -> v1::CommandReport {
    v1::CommandReport {
        request_id: request_id.to_owned(),
        publication: None,
        replies: vec![v1::CommandReply {
            worker: worker.to_owned(),
            value_json: value_json.to_owned(),
            received_micros: 1_795_347_001_000_000,
            size: None,
        }],
    }
}

pub(crate) async fn soon<T>(
    task: tokio::task::JoinHandle<Result<v1::CommandRecord, Status>>,
    then: impl FnOnce(v1::CommandRecord) -> T,
) -> T {
    let record = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    then(record.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_recorded_sent_once_and_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await.with_worker().await;
    let asked = server.execute(waits(20, grow(ID))).await;
    let order = inspector.ordered().await;
    assert_eq!(
        order,
        v1::CommandOrder {
            request_id: ID.to_owned(),
            method: "pool_grow".to_owned(),
            arguments_json: r#"{"n":2}"#.to_owned(),
            destination: vec!["celery@w1".to_owned()],
            all_workers: false,
            wait_millis: 20_000,
        }
    );
    // It is on disk before the inspector hears of it, and its outcome is not known yet.
    let early = server.recorded(ID).await;
    assert_eq!(early.outcome(), v1::CommandOutcome::Unknown);
    assert!(early.recorded_time.is_some() && early.published_time.is_none());
    assert_eq!(early.answers[0].kind(), v1::AnswerKind::NoAnswerYet);
    inspector.report(2, published(ID)).await;
    let answer = r#"{"ok":"pool will grow"}"#;
    inspector.report(3, replied(ID, "celery@w1", answer)).await;
    // At once, not at the end of the wait.
    let record = soon(asked, |record| record).await;
    assert_eq!(record.outcome(), v1::CommandOutcome::Published);
    assert_eq!(record.subscribers, Some(1));
    assert_eq!(record.published_time.unwrap().seconds, 1_795_347_000);
    let request = record.request.clone().unwrap();
    assert_eq!(
        (request.app.as_str(), request.reason.as_str()),
        ("shop", "a test")
    );
    assert_eq!(
        record.message_json,
        r#"{"method":"pool_grow","arguments":{"n":2},"destination":["celery@w1"],"pattern":null,"matcher":null}"#
    );
    let [only] = record.answers.as_slice() else {
        panic!("one worker was asked");
    };
    assert_eq!(only.kind(), v1::AnswerKind::Ok);
    assert_eq!(only.answer_json, answer);
    assert_eq!(only.time.unwrap().seconds, 1_795_347_001);
    // The same again, also in another spelling of the id, gives the record and sends nothing.
    for id in [ID, &ID.to_uppercase()] {
        let again = server.execute(waits(20, grow(id))).await;
        assert_eq!(soon(again, |record| record).await, record);
    }
    let other = server.execute(waits(20, grow(&ID.replace('8', "9")))).await;
    assert_ne!(inspector.ordered().await.request_id, ID, "sent once");
    other.abort();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_of_one_id_are_one_command_and_another_body_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await.with_worker().await;
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(server.execute(waits(20, grow(ID))).await);
    }
    assert_eq!(inspector.ordered().await.request_id, ID);
    let mut control = server.control().await;
    for other in [
        waits(19, grow(ID)),
        waits(
            20,
            v1::ExecuteCommandRequest {
                reason: "another".to_owned(),
                ..grow(ID)
            },
        ),
        waits(
            20,
            v1::ExecuteCommandRequest {
                command: Some(Command::PoolGrow(v1::PoolGrowCommand { count: 3 })),
                ..grow(ID)
            },
        ),
        waits(
            20,
            v1::ExecuteCommandRequest {
                destination: Vec::new(),
                all_workers: true,
                ..grow(ID)
            },
        ),
    ] {
        let refused = control.execute_command(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        assert!(refused.message().contains(ID), "{refused}");
    }
    inspector.report(2, published(ID)).await;
    let grown = replied(ID, "celery@w1", r#"{"ok":"pool will grow"}"#);
    inspector.report(3, grown).await;
    for call in calls {
        assert_eq!(
            soon(call, |record| record.answers.len()).await,
            1,
            "all get the same"
        );
    }
    // Nothing but the one was sent.
    let ping = v1::ExecuteCommandRequest {
        command: Some(Command::Ping(v1::PingCommand {})),
        ..grow("00000000-0000-4000-8000-000000000001")
    };
    let _asked = server.execute(ping).await;
    assert_eq!(inspector.ordered().await.method, "ping");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_outcome_is_unknown_until_the_inspector_reports_and_nothing_is_sent_again()
 {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await.with_worker().await;
    let asked = server.execute(waits(20, grow(ID))).await;
    inspector.ordered().await;
    drop(inspector);
    server.end().await;
    let _ended = tokio::time::timeout(PATIENCE, asked).await.unwrap();

    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    assert_eq!(inspector.welcome.acknowledged_sequence, 1);
    let record = server.recorded(ID).await;
    assert_eq!(record.outcome(), v1::CommandOutcome::Unknown);
    assert_eq!(
        record.outcome_reason,
        "the inspector has not said whether it was published"
    );
    assert_eq!(
        record.answers[0].meaning,
        "It is not known whether the command reached it."
    );
    let again = server.execute(waits(20, grow(ID))).await;
    // The report that was on its way, and after it an answer that took long.
    inspector.report(2, published(ID)).await;
    let grown = replied(ID, "celery@w1", r#"{"ok":"pool will grow"}"#);
    inspector.report(3, grown.clone()).await;
    let record = soon(again, |record| record).await;
    assert_eq!(record.outcome(), v1::CommandOutcome::Published);
    assert_eq!(record.answers[0].kind(), v1::AnswerKind::Ok);
    // What is known stays: neither a second answer nor a doubt replaces it.
    let doubt = v1::CommandReport {
        publication: Some(v1::CommandPublication {
            outcome: v1::CommandOutcome::Unknown.into(),
            ..Default::default()
        }),
        ..replied(ID, "celery@w1", r#"{"error":"no"}"#)
    };
    inspector.report(4, doubt).await;
    inspector.acknowledged(4).await;
    assert_eq!(server.recorded(ID).await, record);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_answered_is_said_and_late_answers_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await.with_worker().await;
    let asked = server.execute(waits(1, grow(ID))).await;
    inspector.ordered().await;
    inspector.report(2, published(ID)).await;
    let record = soon(asked, |record| record).await;
    assert_eq!(record.outcome(), v1::CommandOutcome::Published);
    assert_eq!(record.answers[0].kind(), v1::AnswerKind::NoAnswerYet);
    assert!(record.answers[0].meaning.contains("may still run"));
    let late = r#"{"error":"AttributeError(\"'TaskPool' object has no attribute 'grow'\")"}"#;
    inspector.report(3, replied(ID, "celery@w1", late)).await;
    inspector.acknowledged(3).await;
    let answer = server.recorded(ID).await.answers.remove(0);
    assert_eq!(answer.kind(), v1::AnswerKind::Error);
    assert_eq!(answer.answer_json, late);
    assert!(answer.meaning.contains("fixed size"), "{}", answer.meaning);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_not_published_says_why_and_a_shutdown_expects_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await.with_worker().await;
    let asked = server.execute(waits(20, grow(ID))).await;
    inspector.ordered().await;
    let failed = v1::CommandPublication {
        outcome: v1::CommandOutcome::NotPublished.into(),
        reason: "cannot reach redis://h:6379/0: refused".to_owned(),
        ..Default::default()
    };
    let report = v1::CommandReport {
        publication: Some(failed),
        ..published(ID)
    };
    inspector.report(2, report).await;
    let record = soon(asked, |record| record).await;
    assert_eq!(record.outcome(), v1::CommandOutcome::NotPublished);
    assert_eq!(
        record.outcome_reason,
        "cannot reach redis://h:6379/0: refused"
    );
    assert_eq!(record.answers, []);

    let id = "00000000-0000-4000-8000-000000000002";
    let shutdown = v1::ExecuteCommandRequest {
        command: Some(Command::Shutdown(v1::ShutdownCommand {})),
        ..waits(20, grow(id))
    };
    let asked = server.execute(shutdown).await;
    inspector.ordered().await;
    inspector.report(3, published(id)).await;
    let record = soon(asked, |record| record).await;
    assert_eq!(record.answers[0].kind(), v1::AnswerKind::NoneExpected);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_inspector_nothing_is_recorded_and_standby_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let inspector = server.attach("a", 1).await.with_worker().await;
    let mut standby = server.attach("b", 2).await;
    assert_eq!(standby.welcome.role(), v1::InspectorRole::Standby);
    drop(inspector);
    // The standby takes over within a second or two, and only then gets commands; nothing given before reaches it.
    let mut control = server.control().await;
    let mut waited = false;
    match standby.hear().await.unwrap() {
        Some(Response::RoleChange(change)) => {
            assert_eq!(change.role(), v1::InspectorRole::Active);
        }
        other => panic!("it has no command before its role: {other:?}"),
    }
    drop(standby);
    for attempt in 0..100 {
        // One that was recorded before its end came through is answered from its record ever after.
        let id = format!("00000000-0000-4000-8000-{attempt:012}");
        match control.execute_command(waits(0, grow(&id))).await {
            Err(refused) => {
                assert_eq!(refused.code(), Code::Unavailable);
                assert!(refused.message().contains("no inspector of app \"shop\""));
                waited = true;
                break;
            }
            // Its end has not come through yet.
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    assert!(waited, "without an inspector commands are refused");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_listed_newest_first_and_validate_only_records_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await.with_worker().await;
    let ids: Vec<String> = (1..=5)
        .map(|number| format!("00000000-0000-4000-8000-00000000000{number}"))
        .collect();
    for (sequence, id) in (2..).zip(&ids) {
        let asked = server.execute(waits(20, grow(id))).await;
        inspector.ordered().await;
        let report = v1::CommandReport {
            replies: replied(id, "celery@w1", r#"{"ok":"pool will grow"}"#).replies,
            ..published(id)
        };
        inspector.report(sequence, report).await;
        soon(asked, drop).await;
    }
    let mut control = server.control().await;
    let checked = v1::ExecuteCommandRequest {
        validate_only: true,
        ..grow("")
    };
    let checked = control.execute_command(checked).await.unwrap();
    let checked = checked.into_inner().record.unwrap();
    assert_eq!(checked.outcome(), v1::CommandOutcome::Validated);
    assert!(checked.message_json.contains(r#""arguments":{"n":2}"#));
    assert_eq!((checked.recorded_time, checked.answers), (None, Vec::new()));
    let mut listed = Vec::new();
    let mut request = v1::ListCommandsRequest {
        page_size: 2,
        ..Default::default()
    };
    loop {
        let page = control.list_commands(request.clone()).await.unwrap();
        let page = page.into_inner();
        assert!(page.records.len() <= 2);
        for record in page.records {
            assert_eq!(record.answers.len(), 1);
            listed.push(record.request.unwrap().request_id);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    listed.reverse();
    assert_eq!(listed, ids);
    let missing = v1::GetCommandRequest {
        request_id: ID.to_owned(),
        ..Default::default()
    };
    let missing = control.get_command(missing).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    server.end().await;
}
