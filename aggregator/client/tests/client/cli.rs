//! The binary `celeriac` as a person and a script use it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use celeriac_client::v1;
use tonic::Status;

use crate::fake::{Fake, Script, changed, task};

pub(crate) fn celeriac(server: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    command.args(line.split_whitespace());
    for name in ["CELERIAC_APP", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.env("CELERIAC_SERVER", server).stdin(Stdio::null());
    command
}

/// Exit status, standard output and standard error.
pub(crate) fn run(server: &str, line: &str) -> (i32, String, String) {
    finished(&celeriac(server, line).output().expect("the binary starts"))
}

fn finished(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (
        output.status.code().expect("it exits"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn fake(tasks: usize) -> Fake {
    let tasks = (0..tasks)
        .map(|number| task(&format!("task-{number:05}"), "SUCCESS"))
        .collect();
    Fake::start(Script {
        tasks,
        ..Script::default()
    })
}

#[test]
fn tasks_are_a_table_with_a_hint_of_more() {
    let fake = fake(51);
    let (status, out, err) = run(
        &fake.address().to_string(),
        "tasks --filter x --order-by name",
    );
    assert_eq!(status, 0, "{err}");
    let mut lines = out.lines();
    assert_eq!(
        lines.next(),
        Some("ID          NAME      STATE    WORKER  RUNTIME  SEEN")
    );
    assert_eq!(
        lines.next(),
        Some("task-00000  shop.add  SUCCESS  -             -  -")
    );
    assert_eq!(lines.count(), 49);
    assert_eq!(err, "50 shown, there are more: --limit N or --all\n");
    assert_eq!(fake.script().calls, [r#"list_tasks 50 "" "x" "" "name""#]);
}

#[test]
fn a_workflow_is_asked_for_by_the_root_of_any_of_its_tasks() {
    let mut tasks: Vec<_> = (0..3)
        .map(|number| task(&format!("task-{number}"), "SUCCESS"))
        .collect();
    for child in &mut tasks[1..] {
        child.root_id = Some("task-0".to_owned());
        child.parent_id = Some("task-0".to_owned());
    }
    let fake = Fake::start(Script {
        tasks,
        ..Script::default()
    });
    let address = fake.address().to_string();
    let (status, out, err) = run(&address, "workflow task-2 --limit 2");
    assert_eq!(status, 0, "{err}");
    assert_eq!(
        out,
        "\
TASK         STATE    WORKER  RUNTIME  SEEN  ID
shop.add     SUCCESS  -             -  -     task-0
└─ shop.add  SUCCESS  -             -  -     task-1
"
    );
    assert_eq!(err, "2 shown, there are more: --limit N\n");
    // A root that the aggregator does not know may have tasks that it does.
    assert_eq!(run(&address, "workflow gone").0, 0);
    assert_eq!(
        fake.script().calls,
        [
            "get_task task-2",
            r#"get_workflow "shop" task-0 2 """#,
            "get_task gone",
            r#"get_workflow "" gone 1000 """#,
        ]
    );
}

#[test]
fn json_is_one_response_of_all_pages() {
    let fake = fake(1_500);
    let (status, out, err) = run(&fake.address().to_string(), "tasks --limit 1200 -o json");
    assert_eq!((status, err.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["tasks"].as_array().map(Vec::len), Some(1_200));
    assert_eq!(json["nextPageToken"], "1200");
    assert_eq!(json["scan"]["scanned"], "200", "64-bit numbers are strings");
    let (status, yaml, _) = run(&fake.address().to_string(), "tasks --limit 2 -o yaml");
    assert_eq!(status, 0);
    let yaml: serde_json::Value = serde_saphyr::from_str(&yaml).expect("YAML");
    assert_eq!(yaml["tasks"][1]["id"], "task-00001");
}

#[test]
fn nothing_to_show_is_explained_on_standard_error() {
    let fake = Fake::start(Script::default());
    let server = fake.address().to_string();
    for (line, hint) in [
        ("tasks", "celery worker -E"),
        ("tasks --search state:FAILURE", "no task matches"),
        ("workers", "no workers: none has been heard of yet"),
        (
            "workers --filter status=ONLINE",
            "no worker matches the filter",
        ),
        ("queues", "no queues"),
        ("gaps", "no gaps"),
        ("gaps --worker celery@w1", "no gaps"),
        ("task-names", "celery worker -E"),
        ("apps", "no apps"),
    ] {
        let (status, out, err) = run(&server, line);
        assert_eq!((status, out.as_str()), (0, ""), "{line}: {err}");
        assert!(err.contains(hint), "{line}: {err}");
        let (status, out, err) = run(&server, &format!("{line} -o json"));
        assert_eq!((status, err.as_str()), (0, ""), "{line}");
        assert!(out.starts_with('{'), "{line}: {out}");
    }
}

#[test]
fn gaps_are_listed_up_to_the_limit() {
    let gap = |second: i64, worker: Option<&str>| v1::Gap {
        app: "shop".into(),
        cause: v1::GapCause::Reconnect.into(),
        start_time: Some(prost_types::Timestamp {
            seconds: second,
            nanos: 0,
        }),
        worker: worker.map(str::to_owned),
        missed_starts: Some(7),
        detail: "the broker closed the connection".into(),
        ..Default::default()
    };
    let fake = Fake::start(Script {
        gaps: vec![gap(3, None), gap(2, Some("celery@w1")), gap(1, None)],
        ..Script::default()
    });
    let server = fake.address().to_string();
    let (status, out, err) = run(&server, "gaps --limit 2 --time utc");
    assert_eq!((status, err.as_str()), (0, ""));
    let rows: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(rows.len(), 2, "{out}");
    for word in ["shop", "reconnect", "open", "all", "7", "closed"] {
        assert!(rows[0].contains(word), "{word}: {out}");
    }
    assert!(rows[1].contains("celery@w1"), "{out}");
    let (status, out, _) = run(&server, "gaps -o json");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (status, json["gaps"].as_array().map(Vec::len)),
        (0, Some(3))
    );
}

#[test]
fn advice_stands_below_workers() {
    let advice = v1::Advice {
        code: "EVENTS_OFF".into(),
        message: "task events are off; start the worker with -E".into(),
        ..Default::default()
    };
    let worker = v1::Worker {
        app: "shop".into(),
        name: "celery@w1".into(),
        advice: vec![advice],
        ..Default::default()
    };
    let fake = Fake::start(Script {
        workers: vec![worker],
        ..Script::default()
    });
    let (status, out, err) = run(&fake.address().to_string(), "workers");
    assert_eq!(status, 0);
    assert!(out.contains("celery@w1  UNKNOWN"), "{out}");
    assert_eq!(
        err,
        "advice: task events are off; start the worker with -E [celery@w1]\n"
    );
    let (status, out, _) = run(&fake.address().to_string(), "worker celery@w1");
    assert_eq!(status, 0);
    assert!(out.starts_with("Worker          celery@w1\n"), "{out}");
}

#[test]
fn errors_explain_themselves_and_set_the_exit_status() {
    let fake = fake(0);
    let server = fake.address().to_string();
    let (status, out, err) = run(&server, "task nope");
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err, "error: task \"nope\" is not known\n");
    let evil = Status::invalid_argument("bad \x1b[2J filter");
    fake.script().refusals.push_back(evil);
    let (status, _, err) = run(&server, "tasks --filter x");
    assert_eq!((status, err.as_str()), (1, "error: bad \\x1b[2J filter\n"));
    drop(fake);
    let (status, _, err) = run("127.0.0.1:1", "workers");
    assert_eq!(status, 1);
    assert_eq!(
        err,
        "error: cannot reach the aggregator at http://127.0.0.1:1: connection refused; is \
         celeriac-aggregator running? use --server ADDR or CELERIAC_SERVER to name another\n"
    );
}

#[test]
fn wrong_usage_is_2_and_a_password_is_not_repeated() {
    for line in [
        "",
        "taks",
        "tasks --limit 0",
        "tasks -o xml",
        "watch nothing",
        "workers --server h:0",
    ] {
        let (status, out, err) = run("127.0.0.1:1", line);
        assert_eq!((status, out.as_str()), (2, ""), "{line}: {err}");
    }
    let (status, out, err) = run("http://me:hunter2@host:1", "workers");
    assert_eq!(status, 2);
    assert!(
        err.contains("an address holds no user or password"),
        "{err}"
    );
    let (_, help, _) = run("http://me:hunter2@host:1", "--help");
    assert!(
        !format!("{out}{err}{help}").contains("hunter2"),
        "{out}{err}{help}"
    );
}

#[test]
fn colours_are_for_terminals_or_for_those_who_ask() {
    let fake = fake(1);
    let server = fake.address().to_string();
    let (_, plain, _) = run(&server, "tasks");
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let (_, coloured, _) = run(&server, "tasks --color always");
    assert!(coloured.contains("\x1b[32mSUCCESS\x1b[0m"), "{coloured:?}");
    let mut forced = celeriac(&server, "tasks");
    forced.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    let (_, refused, _) = finished(&forced.output().expect("the binary starts"));
    assert!(
        !refused.contains('\x1b'),
        "NO_COLOR is honoured: {refused:?}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let fake = fake(20_000);
    let mut child = celeriac(&fake.address().to_string(), "tasks --all")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    out.read_line(&mut first).expect("a line");
    drop(out);
    let (status, _, err) = finished(&child.wait_with_output().expect("it ends"));
    assert!(first.starts_with("ID "), "{first}");
    assert_eq!((status, err.as_str()), (0, ""));
}

/// Ends the watch with the test.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watch_prints_json_lines_over_a_restart() {
    let mut fake = Fake::start(Script::default());
    fake.say(changed(task("t1", "STARTED")));
    let child = celeriac(&fake.address().to_string(), "watch tasks -o json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut watching = Watching(child);
    let mut out = BufReader::new(watching.0.stdout.take().expect("it is piped")).lines();
    let mut line = || -> serde_json::Value {
        let line = out.next().expect("a line").expect("UTF-8");
        serde_json::from_str(&line).expect("one JSON a line")
    };
    assert_eq!(line()["delta"]["set"]["task"]["state"], "STARTED");
    fake.kill();
    fake.say(changed(task("t1", "SUCCESS")));
    fake.revive();
    let second = line();
    assert_eq!(second["delta"]["set"]["task"]["state"], "SUCCESS");
    assert_eq!(second["resumeToken"], "2");
    let mut err = watching.0.stderr.take().expect("it is piped");
    drop(watching);
    let mut notes = String::new();
    err.read_to_string(&mut notes).expect("UTF-8");
    assert!(notes.contains("; trying again in "), "{notes}");
}

#[test]
fn watch_prints_lines_without_a_terminal() {
    let fake = Fake::start(Script::default());
    fake.say(changed(task("t1", "RETRY")));
    let child = celeriac(&fake.address().to_string(), "watch --time utc")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut watching = Watching(child);
    let mut out = BufReader::new(watching.0.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(
        line,
        "00:00:01.000Z  task    RETRY            -  shop.add  t1  -\n"
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (status, out, _) = run("127.0.0.1:1", &format!("completions {shell}"));
        assert_eq!(status, 0);
        assert!(
            out.contains("task-names") && out.contains("order-by"),
            "{shell}"
        );
    }
}
