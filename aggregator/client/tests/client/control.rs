//! Commands to workers by the binary: what is asked, what is said, what the exit status is, and that a command is one
//! command whatever happens to the connection.

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use celeriac_client::v1::execute_command_request::Command;
use celeriac_client::{Client, Error, v1};

use crate::cli::{celeriac, run};
use crate::fake::{Fake, Script};
use crate::tty::Tty;

fn answer(worker: &str, kind: v1::AnswerKind, json: &str, meaning: &str) -> v1::CommandAnswer {
    v1::CommandAnswer {
        worker: worker.into(),
        kind: kind.into(),
        answer_json: json.into(),
        meaning: meaning.into(),
        ..Default::default()
    }
}

fn fake(answers: Vec<v1::CommandAnswer>) -> Fake {
    Fake::start(Script {
        answers,
        ..Script::default()
    })
}

fn only_request(fake: &Fake) -> v1::ExecuteCommandRequest {
    let script = fake.script();
    assert_eq!(script.records.len(), 1, "{:?}", script.records);
    script.records[0].request.clone().expect("it has a request")
}

#[test]
fn every_worker_has_a_line_with_what_its_answer_means() {
    let fake = fake(vec![
        answer(
            "celery@w2",
            v1::AnswerKind::NoEffect,
            r#"{"ok": "terminate: tasks unknown"}"#,
            "it has no such task",
        ),
        answer(
            "celery@w1",
            v1::AnswerKind::Ok,
            r#"{"ok": "terminate: t1"}"#,
            "",
        ),
        answer("celery@w3", v1::AnswerKind::NoAnswerYet, "", ""),
    ]);
    let (status, out, err) = run(
        &fake.address().to_string(),
        "control revoke t1 --terminate --yes --reason late",
    );
    assert_eq!(status, 0, "{err}");
    for line in [
        "  WORKER     RESULT                         ANSWER\n",
        "  celery@w1  ok                             terminate: t1\n",
        "  celery@w2  no effect                      it has no such task (Celery's answer: terminate: tasks unknown)\n",
        "  celery@w3  no answer yet (may still run)  -\n",
    ] {
        assert!(out.contains(line), "{line}in\n{out}");
    }
    let request = only_request(&fake);
    assert!(
        request.all_workers && request.reason == "late",
        "{request:?}"
    );
    let Some(Command::Revoke(revoke)) = request.command else {
        panic!("{request:?}")
    };
    assert!(revoke.terminate && revoke.task_ids == ["t1"], "{revoke:?}");
    assert!(err.contains("telling all workers, as Celery does"), "{err}");
    let id = format!("request id {}\n", request.request_id);
    assert!(err.contains(&id) && request.request_id.len() == 36, "{err}");
}

#[test]
fn a_ping_says_how_long_each_took() {
    let at = |worker: &str, nanos| v1::CommandAnswer {
        time: Some(prost_types::Timestamp { seconds: 1, nanos }),
        ..answer(worker, v1::AnswerKind::Ok, r#"{"ok": "pong"}"#, "")
    };
    let fake = fake(vec![
        at("celery@w1", 503_500_000),
        at("celery@w2", 740_000_000),
        // Read before the broker had confirmed the ping.
        at("celery@w3", 499_000_000),
        answer("celery@w4", v1::AnswerKind::NoAnswerYet, "", ""),
    ]);
    let (status, out, _) = run(&fake.address().to_string(), "control ping");
    assert_eq!(status, 3, "one did not answer");
    for line in [
        "  WORKER     RESULT                         AFTER  ANSWER\n",
        "  celery@w1  ok                             3.5ms  pong\n",
        "  celery@w2  ok                             240ms  pong\n",
        "  celery@w3  ok                             0s     pong\n",
        "  celery@w4  no answer yet (may still run)  -      -\n",
    ] {
        assert!(out.contains(line), "{line}in\n{out}");
    }
}

#[test]
fn what_harms_is_refused_where_nobody_can_be_asked() {
    let fake = fake(Vec::new());
    let server = fake.address().to_string();
    for line in [
        "control shutdown --all",
        "control revoke t --terminate",
        "control pool-restart --all",
    ] {
        let (status, out, err) = run(&server, line);
        assert_eq!((status, out.as_str()), (2, ""), "{line}");
        assert!(err.contains("add --yes"), "{line}: {err}");
    }
    assert!(fake.script().records.is_empty(), "nothing was sent");
    let (status, out, err) = run(&server, "control shutdown --all --dry-run");
    assert_eq!(status, 0, "{err}");
    assert!(
        out.contains("checked only") && out.contains("\"method\": \"fake\""),
        "{out}"
    );
}

#[test]
fn the_exit_status_tells_what_is_amiss() {
    use v1::CommandOutcome::{NotPublished, Published, Unknown};
    let ok = || answer("celery@w1", v1::AnswerKind::Ok, r#"{"ok": "pong"}"#, "");
    let silent = || answer("celery@w2", v1::AnswerKind::NoAnswerYet, "", "");
    let error = || answer("celery@w2", v1::AnswerKind::Error, r#"{"error": "no"}"#, "");
    let none = || answer("celery@w1", v1::AnswerKind::NoneExpected, "", "");
    let limit = "control rate-limit t 1/s --all";
    for (line, answers, outcome, want, says) in [
        ("control ping", vec![ok()], Published, 0, ""),
        (
            "control ping",
            vec![ok(), silent()],
            Published,
            3,
            "did not answer",
        ),
        ("inspect active", vec![], Published, 3, "no worker answered"),
        ("control heartbeat", vec![ok(), silent()], Published, 0, ""),
        (
            limit,
            vec![ok(), error()],
            Published,
            3,
            "1 of the workers answered",
        ),
        (
            "control shutdown --all --yes",
            vec![none()],
            Published,
            0,
            "",
        ),
        ("control ping", vec![], NotPublished, 4, "not published"),
        ("control ping", vec![], Unknown, 4, "not known whether"),
    ] {
        let fake = Fake::start(Script {
            answers,
            outcome,
            ..Script::default()
        });
        let (status, out, err) = run(&fake.address().to_string(), line);
        assert_eq!(status, want, "{line} {outcome:?}: {out}{err}");
        assert!(err.contains(says), "{line}: {err}");
        let explained = out.contains("It is not sent again");
        assert_eq!(explained, outcome == Unknown, "{out}");
    }
}

#[test]
fn a_broken_connection_makes_one_command_not_two() {
    let mut fake = fake(vec![answer(
        "celery@w1",
        v1::AnswerKind::Ok,
        r#"{"ok": "pool will grow"}"#,
        "",
    )]);
    fake.script().answer_delay = Duration::from_mins(10);
    let mut child = celeriac(&fake.address().to_string(), "control pool-grow --all")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let started = Instant::now();
    while fake.script().records.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "it never asks");
        std::thread::sleep(Duration::from_millis(10));
    }
    fake.kill();
    fake.script().answer_delay = Duration::ZERO;
    fake.revive();
    let status = child.wait().expect("it ends");
    let (mut out, mut err) = (String::new(), String::new());
    child
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut out)
        .expect("UTF-8");
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut err)
        .expect("UTF-8");
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(out.contains("pool will grow"), "{out}");
    assert!(err.contains("with the same request id"), "{err}");
    let id = only_request(&fake).request_id;
    let calls = fake.script().calls.clone();
    assert_eq!(calls, [format!("execute {id}"), format!("execute {id}")]);
}

/// What broke first is told, not that nobody came back: only the former says that the command may be on its way.
#[tokio::test]
async fn a_command_without_an_answer_is_not_taken_for_one_that_was_never_sent() {
    let mut fake = fake(Vec::new());
    fake.script().answer_delay = Duration::from_mins(10);
    let client = Client::builder(fake.address())
        .command_patience(Duration::from_secs(2))
        .build()
        .expect("no TLS, no token");
    let request = v1::ExecuteCommandRequest {
        request_id: "id-1".into(),
        all_workers: true,
        command: Some(Command::Ping(v1::PingCommand {})),
        ..Default::default()
    };
    let asking = tokio::spawn(async move { client.execute_command(request, |_, _| {}).await });
    while fake.script().records.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fake.kill();
    let error = asking
        .await
        .expect("no panic")
        .expect_err("nobody came back");
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}

#[test]
fn the_same_id_with_another_body_is_refused() {
    let fake = fake(Vec::new());
    let server = fake.address().to_string();
    let (first, _, _) = run(&server, "control pool-grow --all --request-id x");
    let (second, _, err) = run(&server, "control pool-shrink --all --request-id x");
    assert_eq!((first, second), (0, 1), "{err}");
    assert!(err.contains("another command has this request_id"), "{err}");
}

#[test]
fn commands_are_listed_and_shown_with_late_answers() {
    let fake = fake(vec![answer(
        "celery@w1",
        v1::AnswerKind::NoAnswerYet,
        "",
        "",
    )]);
    let server = fake.address().to_string();
    let (status, _, err) = run(&server, "control heartbeat -d celery@w1 --request-id id-1");
    assert_eq!(status, 0, "{err}");
    let (status, out, _) = run(&server, "commands");
    assert_eq!(status, 0);
    let mut lines = out.lines();
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("REQUEST ID  TIME")),
        "{out}"
    );
    let row = lines.next().expect("a row");
    assert!(
        row.starts_with("id-1 ") && row.contains("heartbeat") && row.contains("1 no answer yet"),
        "{row}"
    );
    fake.script().records[0].answers = vec![answer(
        "celery@w1",
        v1::AnswerKind::Ok,
        "null",
        "it sent a heartbeat",
    )];
    let (status, out, _) = run(&server, "command id-1");
    assert_eq!(status, 0);
    assert!(
        out.contains("celery@w1  ok      it sent a heartbeat"),
        "{out}"
    );
    let (status, out, _) = run(&server, "command id-1 -o json");
    assert_eq!(status, 0);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["record"]["answers"][0]["kind"], "ANSWER_KIND_OK");
    let (status, _, err) = run(&server, "command nope");
    assert_eq!(
        (status, err.as_str()),
        (1, "error: no command has request id \"nope\"\n")
    );
}

#[test]
fn what_a_worker_answers_at_length_stands_below_and_drives_no_terminal() {
    let json = r#"[{"id": "t1", "args": ["\u001b[2J evil"], "kwargs": {}, "hostname": "celery@w1", "time_start": 1795346473.5, "acknowledged": true, "name": "shop.mail", "worker_pid": 7}]"#;
    let fake = fake(vec![answer("celery@w1", v1::AnswerKind::Ok, json, "")]);
    let (status, out, err) = run(&fake.address().to_string(), "inspect active");
    assert_eq!(status, 0, "{err}");
    assert!(
        out.contains("\ncelery@w1\n") && out.contains("\"time_start\": 1795346473.5"),
        "{out}"
    );
    assert!(!out.contains('\x1b'), "{out:?}");
}

#[test]
fn what_harms_is_asked_about_on_a_terminal() {
    let fake = fake(vec![answer(
        "celery@w1",
        v1::AnswerKind::NoneExpected,
        "",
        "",
    )]);
    fake.script().workers = vec![v1::Worker {
        name: "celery@w1".into(),
        ..Default::default()
    }];
    let ask = |reply: &str| {
        let command = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_celeriac"))
            .args(["control", "shutdown", "--all"])
            .env("CELERIAC_SERVER", fake.address().to_string());
        let mut tty = Tty::run(command, 100, 24);
        tty.shows("Shut down all workers (1 is online: celery@w1)? [y/N]");
        tty.keys(reply);
        let status = tty.ended().code();
        (status, tty.contents())
    };
    let (status, screen) = ask("\r");
    assert_eq!(status, Some(2), "{screen}");
    assert!(
        screen.contains("not confirmed; nothing was sent"),
        "{screen}"
    );
    assert!(fake.script().records.is_empty());
    let (status, screen) = ask("y\r");
    assert_eq!(status, Some(0), "{screen}");
    assert!(screen.contains("none expected"), "{screen}");
    assert_eq!(fake.script().records.len(), 1);
}
