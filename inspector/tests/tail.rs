//! `celeriac-inspector tail` as people run it: the binary against a real redis-server, fed with what real workers sent.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[path = "redis_transport/server.rs"]
#[expect(
    dead_code,
    reason = "shared with the transport's own tests, which use more of it"
)]
mod server;

use server::{Server, free_port};

const RECORDED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/fixtures/redis-events.jsonl"
));

/// Events in [`RECORDED`], by its README.
const EVENTS: usize = 2_703;

const DEADLINE: Duration = Duration::from_secs(30);

/// A `tail` that runs.
struct Tail {
    process: Child,
}

struct Ended {
    status: ExitStatus,
    out: String,
    errors: String,
}

fn tail(broker: &str, arguments: &[&str]) -> Tail {
    let process = Command::new(env!("CARGO_BIN_EXE_celeriac-inspector"))
        .args(["tail", "--broker", broker])
        .args(arguments)
        .env_remove("CELERIAC_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    Tail { process }
}

impl Tail {
    /// Waits for its end while its output is read.
    fn end(mut self) -> Ended {
        let mut out = self.process.stdout.take().expect("it is a pipe");
        let mut errors = self.process.stderr.take().expect("it is a pipe");
        let out = std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).expect("events are UTF-8");
            text
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).expect("logs are UTF-8");
            text
        });
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("a child can be asked") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.process.kill();
                panic!("tail did not end: {}", errors.join().expect("no panic"));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let out = out.join().expect("no panic");
        Ended {
            status,
            out,
            errors: errors.join().expect("no panic"),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("process ids are small");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }
}

fn connection(server: &Server) -> redis::Connection {
    let url = format!("redis://127.0.0.1:{}/0", server.port);
    redis::Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("the server answers")
}

/// Waits until `count` patterns are subscribed to, or more.
fn wait_for_subscription(connection: &mut redis::Connection) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let patterns: u64 = redis::cmd("PUBSUB")
            .arg("NUMPAT")
            .query(connection)
            .expect("the server answers");
        if patterns > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "tail did not subscribe");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Publishes everything recorded, where it was recorded.
fn replay(connection: &mut redis::Connection) {
    for line in RECORDED.lines() {
        let line: Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let (channel, payload) = (line["channel"].as_str(), line["payload"].as_str());
        redis::cmd("PUBLISH")
            .arg(channel.expect("a channel"))
            .arg(payload.expect("a payload"))
            .exec(connection)
            .expect("the server answers");
    }
}

/// The recorded events as their senders wrote them.
fn recorded() -> Vec<Value> {
    let mut events = Vec::new();
    for line in RECORDED.lines() {
        let line: Value = serde_json::from_str(line).expect("fixtures are JSON lines");
        let payload = line["payload"].as_str().expect("a payload");
        let envelope: Value = serde_json::from_str(payload).expect("an envelope");
        let body = envelope["body"].as_str().expect("a body");
        let body = base64_simd::STANDARD.decode_to_vec(body).expect("base64");
        match serde_json::from_slice(&body).expect("a JSON body") {
            Value::Array(many) => events.extend(many),
            one => events.push(one),
        }
    }
    events
}

fn broker(server: &Server) -> String {
    format!("redis://127.0.0.1:{}/0", server.port)
}

#[test]
fn every_recorded_event_comes_out_as_json_with_its_fields() {
    let server = Server::start();
    let mut connection = connection(&server);
    let tail = tail(
        &broker(&server),
        &["--output", "json", "--count", &EVENTS.to_string()],
    );
    wait_for_subscription(&mut connection);
    replay(&mut connection);
    let ended = tail.end();
    assert!(ended.status.success(), "{}", ended.errors);
    let printed: Vec<Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let recorded = recorded();
    assert_eq!((printed.len(), recorded.len()), (EVENTS, EVENTS));
    for (printed, recorded) in printed.iter().zip(&recorded) {
        for (field, value) in recorded.as_object().expect("events are objects") {
            let same = match (value, &printed[field]) {
                // UTC already; null is absent; a signal is a text, whatever it was.
                _ if field == "utcoffset" || field == "signum" => true,
                (Value::Number(sent), Value::Number(said)) => sent.as_f64() == said.as_f64(),
                (Value::Null, said) => said.is_null(),
                (Value::Array(_), _) => true,
                (sent, said) => sent == said,
            };
            assert!(same, "{field} of {recorded} in {printed}");
        }
        assert!(printed["received"].as_f64().expect("a time") > 1.7e9);
    }
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query(&mut connection)
        .expect("it answers");
    assert_eq!(keys, Vec::<String>::new(), "nothing is left on the broker");
}

#[test]
fn people_get_the_lines_they_asked_for_without_colours_in_a_pipe() {
    let server = Server::start();
    let mut connection = connection(&server);
    let wanted = |event: &&Value| {
        event["type"] == "task-failed" && event["hostname"].as_str() == Some("celery@w1")
    };
    let failures = recorded().iter().filter(wanted).count();
    assert!(failures > 3, "the recording holds failures");
    let count = failures.to_string();
    let filter = ["--type", "task-failed", "--worker", "*@w1", "-n", &count];
    let tail = tail(&broker(&server), &filter);
    wait_for_subscription(&mut connection);
    replay(&mut connection);
    let ended = tail.end();
    assert!(ended.status.success(), "{}", ended.errors);
    assert_eq!(ended.out.lines().count(), failures);
    assert!(!ended.out.contains('\x1b'), "{}", ended.out);
    for line in ended.out.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1..3], ["task-failed", "celery@w1"], "{line}");
        assert!(line.contains("exception="), "{line}");
    }
    assert!(
        ended.out.contains("demo.fail["),
        "names come from earlier events"
    );
    assert_eq!(ended.errors, "", "nothing is amiss");
}

#[test]
fn an_interrupt_ends_it_in_order() {
    let server = Server::start();
    let mut connection = connection(&server);
    let tail = tail(&broker(&server), &[]);
    wait_for_subscription(&mut connection);
    tail.signal(Signal::SIGINT);
    let ended = tail.end();
    assert!(ended.status.success(), "{}", ended.errors);
}

#[test]
fn a_reader_that_has_enough_ends_it_without_an_error() {
    let server = Server::start();
    let mut connection = connection(&server);
    let mut tail = tail(&broker(&server), &["-o", "json"]);
    wait_for_subscription(&mut connection);
    let out = tail.process.stdout.take().expect("it is a pipe");
    replay(&mut connection);
    let mut lines = BufReader::new(out).lines();
    lines.next().expect("events come").expect("they are UTF-8");
    drop(lines);
    replay(&mut connection);
    tail.process.stdout = Some(reader_of_nothing());
    let ended = tail.end();
    assert!(ended.status.success(), "{}", ended.errors);
    assert_eq!(ended.errors, "");
}

/// A pipe that is at its end, in place of the one that was given up.
fn reader_of_nothing() -> std::process::ChildStdout {
    let mut nothing = Command::new("true")
        .stdout(Stdio::piped())
        .spawn()
        .expect("every Unix has `true`");
    let out = nothing.stdout.take().expect("it is a pipe");
    nothing.wait().expect("it ends");
    out
}

#[test]
fn it_ends_after_the_time_it_was_given() {
    let server = Server::start();
    let started = Instant::now();
    let ended = tail(&broker(&server), &["--for", "500ms"]).end();
    assert!(ended.status.success(), "{}", ended.errors);
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert_eq!(ended.out, "");
}

/// Runs `tail` against something that cannot work, and gives the one sentence it says.
fn refusal(broker: &str) -> String {
    let ended = tail(broker, &[]).end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.errors);
    assert_eq!(ended.out, "");
    let lines: Vec<&str> = ended.errors.lines().collect();
    assert_eq!(lines.len(), 1, "one sentence, not {lines:?}");
    let sentence = lines[0]
        .strip_prefix("celeriac-inspector: ")
        .expect("it says who speaks");
    sentence.to_owned()
}

#[test]
fn what_cannot_work_is_said_in_one_sentence_without_secrets() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let port = server.port;
    let wrong = refusal(&format!("redis://:planted-secret@127.0.0.1:{port}/0"));
    assert!(wrong.contains("refuses the credentials"), "{wrong}");
    assert!(
        wrong.contains(&format!("redis://127.0.0.1:{port}/0")),
        "{wrong}"
    );
    let missing = refusal(&format!("redis://127.0.0.1:{port}/0"));
    assert!(missing.contains("refuses the credentials"), "{missing}");
    let nobody = refusal(&format!(
        "redis://:planted-secret@127.0.0.1:{}/0",
        free_port()
    ));
    assert!(
        nobody.starts_with("cannot reach redis://127.0.0.1:"),
        "{nobody}"
    );
    let scheme = refusal("valkey://:planted-secret@127.0.0.1/0");
    assert!(scheme.contains("valkey"), "{scheme}");
    let sentinel = refusal("sentinel://:planted-secret@127.0.0.1:26379/0");
    assert!(sentinel.contains("sentinel"), "{sentinel}");
    for sentence in [wrong, missing, nobody, scheme, sentinel] {
        assert!(!sentence.contains("planted-secret"), "{sentence}");
    }
}

#[test]
fn the_broker_may_come_from_the_environment() {
    let server = Server::start();
    let ended = Command::new(env!("CARGO_BIN_EXE_celeriac-inspector"))
        .args(["tail", "--for", "200ms"])
        .env("CELERIAC_INSPECTOR_BROKER", broker(&server))
        .output()
        .expect("the binary was built for this test");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let help = Command::new(env!("CARGO_BIN_EXE_celeriac-inspector"))
        .args(["tail", "--help"])
        .env("CELERIAC_INSPECTOR_BROKER", "redis://:planted-secret@h/0")
        .output()
        .expect("the binary was built for this test");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("CELERIAC_INSPECTOR_BROKER") && !help.contains("planted-secret"));
}
