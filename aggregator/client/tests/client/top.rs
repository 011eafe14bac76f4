//! `celeriac top` on a real terminal, against fixed answers.

use std::time::Duration;

use celeriac_client::v1;
use celeriac_client::v1::watch_item::Item;
use celeriac_client::v1::watch_response::Message;
use nix::sys::signal::Signal;
use pty_process::blocking::Command;
use tonic::Status;

use crate::cli::run;
use crate::fake::{Fake, Script, changed, task};
use crate::tty::Tty;

fn item(item: Item) -> Message {
    Message::Item(v1::WatchItem { item: Some(item) })
}

fn worker(name: &str) -> v1::Worker {
    v1::Worker {
        app: "shop".into(),
        name: name.into(),
        status: v1::WorkerStatus::Online.into(),
        active: Some(1),
        processed: Some(650),
        inspection: Some(v1::WorkerInspection {
            pool: Some("prefork".into()),
            slots: Some(4),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn queue(name: &str, ready: i64) -> v1::Queue {
    v1::Queue {
        app: "shop".into(),
        name: name.into(),
        ready: Some(ready),
        ..Default::default()
    }
}

fn app() -> v1::App {
    v1::App {
        name: "shop".into(),
        broker: Some(v1::Broker {
            endpoint: "redis://127.0.0.1:6379/0".into(),
            reachable: true,
            ..Default::default()
        }),
        inspector: Some(v1::Inspector {
            attached: true,
            subscription: v1::SubscriptionState::Live.into(),
            ..Default::default()
        }),
        workers_online: 2,
        workers_known: 2,
        slots: 8,
        active: 2,
        ready: 120,
        ..Default::default()
    }
}

fn failed(id: &str) -> v1::Task {
    v1::Task {
        exception_summary: Some("ValueError('boom')".into()),
        finish_seen: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        }),
        ..task(id, "FAILURE")
    }
}

fn fake() -> Fake {
    let evil = v1::Task {
        payload: Some(v1::Payload {
            args: Some("('\x1b]0;pwned\x07\x1b[2J\u{9b}31m',)".into()),
            traceback: Some("Traceback:\n  File \"x\"\nValueError: \x1b[41mboom\n".into()),
            ..Default::default()
        }),
        ..failed("evil-1")
    };
    Fake::start(Script {
        apps: vec![app()],
        workers: vec![worker("celery@w1"), worker("celery@w2")],
        tasks: vec![evil, task("task-2", "SUCCESS")],
        messages: vec![
            Message::SnapshotBegin(v1::SnapshotBegin {}),
            item(Item::App(app())),
            item(Item::Worker(worker("celery@w1"))),
            item(Item::Worker(worker("celery@w2"))),
            item(Item::Queue(queue("mail", 20))),
            item(Item::Queue(queue("celery", 100))),
            item(Item::TaskName(v1::TaskName {
                app: "shop".into(),
                name: "shop.mail".into(),
                started: 10,
                ..Default::default()
            })),
            Message::SnapshotEnd(v1::SnapshotEnd { items: 6 }),
        ],
        answers: vec![v1::CommandAnswer {
            worker: "celery@w1".into(),
            kind: v1::AnswerKind::Ok.into(),
            answer_json: r#"{"ok": "pool will grow"}"#.into(),
            ..Default::default()
        }],
        ..Script::default()
    })
}

fn top(fake: &Fake, environment: &[(&str, &str)], columns: u16, rows: u16) -> Tty {
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .arg("top")
        .env("CELERIAC_SERVER", fake.address().to_string())
        .env("TERM", "xterm-256color")
        .env("LANG", "C.UTF-8");
    for name in [
        "CELERIAC_APP",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "LC_ALL",
        "LC_CTYPE",
    ] {
        command = command.env_remove(name);
    }
    for (name, value) in environment {
        command = command.env(name, value);
    }
    Tty::run(command, columns, rows)
}

#[test]
fn keys_switch_views_and_rows_are_ordered() {
    let fake = fake();
    let tty = top(&fake, &[], 80, 24);
    tty.shows("2 online of 2");
    tty.keys("2");
    let screen = tty.shows("celery@w2  ONLINE");
    assert!(screen.contains("prefork   1/4"), "{screen}");
    tty.keys("\t");
    let screen = tty.shows("READY▼");
    let of = |name: &str| {
        screen
            .find(name)
            .unwrap_or_else(|| panic!("{name} in {screen}"))
    };
    assert!(
        of("celery    100") < of("mail       20"),
        "the most backlog first: {screen}"
    );
    tty.keys("r");
    tty.until("it is not turned round", |screen| {
        screen.contains("READY▲") && screen.find("mail ") < screen.find("celery    100")
    });
    tty.keys("4");
    tty.shows("shop.mail");
    tty.keys("\x1b[Z");
    tty.shows("READY▲");
}

#[test]
fn lists_follow_a_filter_and_tasks_are_filtered_by_the_aggregator() {
    let fake = fake();
    let tty = top(&fake, &[], 80, 24);
    tty.shows("2 online of 2");
    tty.keys("3/MAI");
    tty.until("it is not filtered", |screen| {
        screen.contains("mail") && !screen.contains("celery  ")
    });
    tty.keys("\r\x1b");
    tty.shows("celery    100");
    tty.keys("5/state = FAILURE\r");
    tty.shows("filter: state = FAILURE");
    tty.keys("/");
    // What was there is edited, and Tab makes it a search.
    tty.keys("\x15\tstate:SUCCESS\r");
    tty.shows("search: state:SUCCESS");
    tty.keys("s");
    tty.shows("by last_seen desc");
    tty.keys("r");
    tty.shows("by last_seen asc");
    let calls = fake.script().calls.clone();
    for call in [
        r#"list_tasks 200 "" "state = FAILURE" "" "first_seen desc""#,
        r#"list_tasks 200 "" "" "state:SUCCESS" "first_seen desc""#,
        r#"list_tasks 200 "" "" "state:SUCCESS" "last_seen asc""#,
    ] {
        assert!(calls.iter().any(|had| had == call), "{call} in {calls:#?}");
    }
}

#[test]
fn what_a_task_holds_never_drives_the_terminal() {
    let fake = fake();
    let tty = top(&fake, &[], 80, 24);
    tty.keys("6");
    tty.shows("ValueError('boom')");
    tty.keys("\r");
    let screen = tty.shows("Traceback");
    assert!(
        screen.contains(r"'\x1b]0;pwned\x07\x1b[2J\x9b31m'"),
        "{screen}"
    );
    tty.keys("q");
    tty.shows("? help");
    let bytes = tty.bytes();
    let had = |bad: &[u8]| bytes.windows(bad.len()).any(|window| window == bad);
    assert!(!had(b"\x1b]0;"), "a title was set");
    assert!(!had("\u{9b}".as_bytes()), "a C1 control went through");
    assert!(!had(b"\x1b[41m"), "a colour of the data was obeyed");
}

#[test]
fn a_command_is_sent_after_a_yes_only() {
    let fake = fake();
    let tty = top(&fake, &[], 80, 24);
    tty.shows("2 online of 2");
    tty.keys("2c+");
    let screen = tty.shows("Send this command?");
    assert!(
        screen.contains("pool-grow 1") && screen.contains("to celery@w1"),
        "{screen}"
    );
    // What people press to go on is no yes.
    tty.keys("\r n");
    tty.shows("nothing was sent");
    assert!(fake.script().records.is_empty());
    tty.keys("jc-y");
    tty.shows("pool will grow");
    let records = fake.script().records.clone();
    let request = records[0].request.as_ref().expect("a request");
    assert_eq!(
        (records.len(), request.destination.as_slice()),
        (1, &["celery@w2".to_owned()][..])
    );
    let id = &request.request_id;
    assert!(tty.contents().contains(id), "{id} in {}", tty.contents());
    // Alone, or it is taken for Alt with the next key.
    tty.keys("\x1b");
    tty.shows("celery@w2  ONLINE");
    tty.keys("5");
    tty.shows("evil-1");
    tty.keys("ct");
    let screen = tty.shows("Send this command?");
    assert!(
        screen.contains("--terminate --signal SIGTERM") && screen.contains("to all workers"),
        "{screen}"
    );
    tty.keys("y");
    tty.shows("Outcome  published");
    assert_eq!(fake.script().records.len(), 2);
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let fake = fake();
    let tty = top(&fake, &[], 80, 24);
    tty.shows("2 online of 2");
    tty.keys("2");
    tty.shows("celery@w2");
    tty.resize(200, 50);
    tty.until("it does not fill the screen", |screen| {
        screen
            .lines()
            .nth(49)
            .is_some_and(|line| line.contains("? help"))
    });
    tty.resize(40, 10);
    tty.until("it does not fit", |screen| {
        screen
            .lines()
            .nth(9)
            .is_some_and(|line| line.starts_with("Enter details"))
    });
    tty.resize(12, 3);
    tty.shows("terminal to");
    tty.resize(80, 24);
    tty.shows("celery@w2  ONLINE");
}

/// Both wake the program at once; where it took the one, the other waited for the next key.
#[test]
fn a_key_that_comes_with_a_change_of_the_size_is_heard() {
    let fake = fake();
    let tty = top(&fake, &[], 80, 24);
    tty.shows("2 online of 2");
    for _ in 0..50 {
        for (columns, key, shown) in [(90, "2", true), (80, "1", false)] {
            tty.resize(columns, 24);
            tty.keys(key);
            tty.until("the key is not heard", |screen| {
                screen.contains("celery@w2  ONLINE") == shown
            });
        }
    }
}

#[test]
fn it_says_that_it_is_cut_off_and_comes_back() {
    let mut fake = fake();
    let tty = top(&fake, &[], 80, 24);
    tty.shows("live 00:00:01Z");
    fake.kill();
    let screen = tty.shows("reconnecting");
    assert!(
        screen.contains("2 online of 2"),
        "what was known stays: {screen}"
    );
    fake.script().workers.clear();
    fake.revive();
    fake.say(Message::Heartbeat(v1::Heartbeat {}));
    tty.shows("live 00:00:01Z");
}

#[test]
fn the_terminal_is_left_as_it_was() {
    for (how, end) in [
        ("q", None),
        ("\x03", None),
        ("SIGTERM", Some(Signal::SIGTERM)),
        ("SIGHUP", Some(Signal::SIGHUP)),
        ("SIGINT", Some(Signal::SIGINT)),
    ] {
        let fake = fake();
        let mut tty = top(&fake, &[], 80, 24);
        tty.shows("2 online of 2");
        assert!(!tty.is_usual(), "it has taken the terminal");
        match end {
            Some(signal) => tty.signal(signal),
            None => tty.keys(how),
        }
        assert!(tty.ended().success(), "{how}");
        assert!(tty.is_usual(), "{how}: {}", tty.contents());
        assert_eq!(tty.contents().trim(), "", "nothing is left: {how}");
    }
}

#[test]
fn a_refusal_ends_it_with_a_clean_terminal_and_a_reason() {
    let fake = fake();
    let mut tty = top(&fake, &[], 80, 24);
    tty.shows("2 online of 2");
    fake.script().stuck = true;
    fake.script()
        .refusals
        .push_back(Status::permission_denied("not for you"));
    fake.script()
        .refusals
        .push_back(Status::permission_denied("not for you"));
    let mut fake = fake;
    fake.kill();
    fake.revive();
    assert_eq!(tty.ended().code(), Some(1));
    assert!(
        tty.is_usual() && tty.contents().contains("error: not for you"),
        "{}",
        tty.contents()
    );
}

#[test]
fn no_aggregator_is_said_on_the_usual_screen() {
    let mut fake = fake();
    fake.kill();
    let mut tty = top(&fake, &[], 80, 24);
    assert_eq!(tty.ended().code(), Some(1));
    let bytes = String::from_utf8_lossy(&tty.bytes()).into_owned();
    assert!(
        bytes.contains("connection refused") && !bytes.contains("\x1b[?1049h"),
        "{bytes:?}"
    );
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let fake = fake();
    let (status, out, err) = run(&fake.address().to_string(), "top");
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(
        err.contains("top needs a terminal") && err.contains("celeriac watch"),
        "{err}"
    );
}

#[test]
fn colours_and_signs_are_those_the_terminal_has() {
    let fake = fake();
    let plain = top(&fake, &[("NO_COLOR", "1")], 80, 24);
    plain.keys("2");
    plain.shows("celery@w2  ONLINE");
    let bytes = String::from_utf8_lossy(&plain.bytes()).into_owned();
    let coloured = |bytes: &str| bytes.contains("\x1b[38;5;2") || bytes.contains("\x1b[32m");
    assert!(!coloured(&bytes), "{bytes:?}");
    let ascii = top(&fake, &[("LC_ALL", "C")], 80, 24);
    ascii.keys("2");
    ascii.shows("WORKER^");
    ascii.keys("?");
    ascii.shows("+- Help -");
    assert!(ascii.bytes().is_ascii(), "{:?}", ascii.contents());
    let usual = top(&fake, &[], 80, 24);
    usual.keys("2");
    usual.shows("WORKER▲");
    let bytes = String::from_utf8_lossy(&usual.bytes()).into_owned();
    assert!(coloured(&bytes), "{bytes:?}");
}

/// Takes nothing more of what is written, and has more written than the terminal's buffer has room for: writing blocks.
fn jam(tty: &Tty) {
    tty.stall(true);
    // Four rounds of all views, a frame each.
    for _ in 0..24 {
        tty.keys("\t");
        std::thread::sleep(Duration::from_millis(120));
    }
}

#[test]
fn a_jammed_terminal_does_not_keep_it_from_ending() {
    let fake = fake();
    let mut tty = top(&fake, &[], 200, 50);
    tty.shows("2 online of 2");
    jam(&tty);
    tty.signal(Signal::SIGTERM);
    assert!(tty.ended().success());
    tty.stall(false);
}

/// A terminal that takes no bytes for a while holds up nothing that is read, and then shows the newest.
#[test]
fn a_slow_terminal_does_not_hold_up_the_stream() {
    let fake = fake();
    let tty = top(&fake, &[], 200, 50);
    tty.shows("2 online of 2");
    tty.keys("3");
    tty.shows("READY▼");
    jam(&tty);
    for number in 0..20_000_i64 {
        let mut script = fake.script();
        let set = v1::WatchItem {
            item: Some(Item::Queue(queue(&format!("q{}", number % 50), number))),
        };
        script.messages.push(Message::Delta(v1::WatchDelta {
            change: Some(v1::watch_delta::Change::Set(set)),
        }));
    }
    fake.say(changed(task("last", "SUCCESS")));
    let want = fake.script().messages.len();
    tty.until("the stream is held up", |_| fake.script().sent >= want);
    tty.stall(false);
    tty.shows("q49    19999");
}
