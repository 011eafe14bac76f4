//! Celery's `State` in a process of its own that answers what it makes of a stream.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use celeriac_tests::paths;
use serde_json::{Value, json};

use crate::stream::Sent;

/// `tests/app/oracle.py`, running.
pub(crate) struct Oracle {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What Celery makes of a stream.
#[derive(Debug)]
pub(crate) struct Answer {
    /// By Celery's own classes.
    pub(crate) celery: Value,
    /// By the same with the named differences.
    pub(crate) named: Value,
    /// The differences that took effect, by task or worker.
    rules: Value,
}

impl Answer {
    /// The named differences that took effect on a task or a worker.
    pub(crate) fn rules_of(&self, whose: &str) -> Vec<&str> {
        let rules = self.rules[whose].as_array();
        rules
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Every difference that took effect anywhere.
    pub(crate) fn rules(&self) -> Vec<&str> {
        let all = self.rules.as_object().into_iter().flatten();
        all.flat_map(|(whose, _)| self.rules_of(whose)).collect()
    }
}

impl Oracle {
    /// With this Celery version.
    pub(crate) fn start(celery: &str) -> Self {
        let app = paths::root().join("tests/app");
        let mut command = Command::new(paths::python(celery));
        command
            .arg(app.join("oracle.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TZ", "UTC");
        if celery == "4.4" {
            command.env("PYTHONPATH", app.join("py311"));
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python of a made environment runs");
        let questions = process.stdin.take();
        let stdout = process.stdout.take().expect("its stdout is a pipe");
        let mut oracle = Self {
            process,
            questions,
            answers: BufReader::new(stdout),
        };
        let ready = oracle.line();
        assert!(
            ready.starts_with(&format!("ready {celery}.")),
            "it says {ready:?}"
        );
        oracle
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        let read = read.expect("the oracle writes text");
        assert!(read > 0, "the oracle ended; its traceback is above");
        line
    }

    /// What Celery makes of a stream.
    pub(crate) fn ask(&mut self, stream: &[Sent]) -> Answer {
        let entries = stream
            .iter()
            .map(|sent| json!([sent.event, sent.received_seconds(), sent.life]));
        let question = Value::Array(entries.collect());
        let questions = self.questions.as_mut().expect("open until it is dropped");
        writeln!(questions, "{question}").expect("the oracle reads");
        let mut answer: Value = serde_json::from_str(&self.line()).expect("it answers in JSON");
        Answer {
            celery: answer["celery"].take(),
            named: answer["named"].take(),
            rules: answer["rules"].take(),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It ends when there is nothing more to read.
        drop(self.questions.take());
        let _status = self.process.wait();
    }
}
