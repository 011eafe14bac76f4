//! Single reads: what is repeated, what is not, and what an error says.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use celeriac_client::{Address, Client, Code, Error, v1};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::fake::{Fake, LACKING, Script, task};

fn refusing(refusals: impl IntoIterator<Item = Status>) -> Fake {
    Fake::start(Script {
        refusals: refusals.into_iter().collect(),
        ..Script::default()
    })
}

async fn list(fake: &Fake) -> Result<v1::ListAppsResponse, Error> {
    fake.client()
        .list_apps(v1::ListAppsRequest::default())
        .await
}

#[tokio::test]
async fn a_read_gives_what_the_aggregator_has() {
    let fake = Fake::start(Script {
        tasks: vec![task("t1", "SUCCESS")],
        ..Script::default()
    });
    let request = v1::GetTaskRequest {
        id: "t1".into(),
        ..Default::default()
    };
    let response = fake.client().get_task(request).await.expect("it is there");
    assert_eq!(response.task.expect("one").state, "SUCCESS");
}

#[tokio::test]
async fn unavailable_is_tried_again() {
    let fake = refusing([
        Status::unavailable("starting"),
        Status::unavailable("starting"),
    ]);
    list(&fake).await.expect("the third try is answered");
    assert_eq!(fake.script().calls.len(), 3);
}

#[tokio::test]
async fn unavailable_for_long_is_said() {
    let fake = refusing((0..9).map(|_| Status::unavailable("replaying the journal")));
    let error = list(&fake).await.expect_err("it never gets there");
    assert_eq!(error.to_string(), "replaying the journal");
    assert_eq!(
        fake.script().calls.len(),
        4,
        "one call and three more tries"
    );
}

#[tokio::test]
async fn the_aggregator_may_ask_for_more_time() {
    let later = ErrorDetails::with_retry_info(Some(Duration::from_millis(900)));
    let fake = refusing([Status::with_error_details(Code::Unavailable, "soon", later)]);
    let started = Instant::now();
    list(&fake).await.expect("the second try is answered");
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn nothing_else_is_tried_again() {
    for code in [
        Code::Internal,
        Code::Aborted,
        Code::ResourceExhausted,
        Code::Cancelled,
    ] {
        let fake = refusing([Status::new(code, "no")]);
        let error = list(&fake).await.expect_err("it is refused");
        assert_eq!(error.code(), code);
        assert_eq!(fake.script().calls.len(), 1, "{code:?}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_said_in_the_aggregators_words() {
    let fake = Fake::start(Script::default());
    let request = v1::GetWorkerRequest {
        name: "celery@x".into(),
        ..Default::default()
    };
    let error = fake
        .client()
        .get_worker(request)
        .await
        .expect_err("there is none");
    assert_eq!(error.to_string(), r#"worker "celery@x" is not known"#);
    assert_eq!(error.code(), Code::NotFound);
}

#[tokio::test]
async fn details_come_over_the_wire() {
    let details =
        ErrorDetails::with_bad_request_violation("filter", "unknown field `colour` at position 1");
    let fake = refusing([Status::with_error_details(
        Code::InvalidArgument,
        "invalid filter",
        details,
    )]);
    let error = list(&fake).await.expect_err("it is refused");
    assert_eq!(
        error.to_string(),
        "invalid filter; filter: unknown field `colour` at position 1"
    );
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let address: Address = format!("127.0.0.1:{port}").parse().expect("an address");
    let started = Instant::now();
    let error = Client::connect(address)
        .expect("no TLS")
        .list_apps(v1::ListAppsRequest::default())
        .await
        .expect_err("nobody listens");
    assert_eq!(
        error.to_string(),
        format!("cannot reach the aggregator at http://127.0.0.1:{port}: connection refused")
    );
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_said() {
    let address: Address = "no-such-host.invalid:1".parse().expect("an address");
    let client = Client::connect(address).expect("no TLS");
    let error = client
        .list_apps(v1::ListAppsRequest::default())
        .await
        .expect_err("no such host");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("http://no-such-host.invalid:1") && text.contains("lookup"),
        "{text}"
    );
}

#[tokio::test]
async fn a_web_server_is_told_from_an_aggregator() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address: Address = listener
        .local_addr()
        .expect("it is bound")
        .to_string()
        .parse()
        .expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut seen = [0; 1024];
            let read = stream.read(&mut seen);
            let answer = stream.write_all(
                b"HTTP/1.1 400 Bad Request\r\nServer: TornadoServer\r\nContent-Length: 0\r\n\r\n",
            );
            // All is read before it is closed: a reset would take the answer away from the reader.
            let end = stream.shutdown(Shutdown::Write);
            let rest = stream.read_to_end(&mut Vec::new());
            drop((read, answer, end, rest));
        }
    });
    let client = Client::connect(address.clone()).expect("no TLS");
    let error = client
        .list_apps(v1::ListAppsRequest::default())
        .await
        .expect_err("it is no peer");
    assert!(matches!(error, Error::NotGrpc { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("what listens at {address} does not speak gRPC")),
        "{text}"
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let fake = Fake::start(Script {
        delay: Duration::from_secs(20),
        ..Script::default()
    });
    let client = Client::builder(fake.address())
        .deadline(Duration::from_millis(300))
        .build()
        .expect("no TLS, no token");
    let started = Instant::now();
    let error = client
        .list_apps(v1::ListAppsRequest::default())
        .await
        .expect_err("too late");
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("gave no answer within 0.3 s"),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn what_this_version_lacks_is_said() {
    let fake = Fake::start(Script::default());
    let error = fake
        .client()
        .get_workflow(v1::GetWorkflowRequest {
            root_id: LACKING.to_owned(),
            ..Default::default()
        })
        .await
        .expect_err("it is not there yet");
    assert_eq!(
        error.to_string(),
        "the aggregator does not offer this: GetWorkflow comes in a later version"
    );
}

#[tokio::test]
async fn a_client_can_be_used_from_spawned_tasks() {
    let fake = Fake::start(Script::default());
    let client = fake.client();
    let task = tokio::spawn(async move {
        client
            .pages(v1::ListQueuesRequest::default(), None)
            .merged()
            .await
    });
    let response = task
        .await
        .expect("it does not panic")
        .expect("it is answered");
    assert!(response.queues.is_empty());
}
