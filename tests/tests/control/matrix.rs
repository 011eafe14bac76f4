//! The matrix: runs every cell, prints what was seen, and compares it with what is expected.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::PoisonError;

use celeriac_proto::v1::{AnswerKind, CommandAnswer};

use crate::broker::Kind;
use crate::expected::{self, Rule};
use crate::probes;
use crate::scene::{ALL, Scene};
use crate::stage::Stage;

/// What was seen of one cell.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) answer: CommandAnswer,
    /// What became of it in the worker.
    effect: String,
}

impl Seen {
    pub(crate) fn new(answer: CommandAnswer, effect: impl Into<String>) -> Self {
        Self {
            answer,
            effect: effect.into(),
        }
    }

    /// Answer and effect in words.
    pub(crate) fn cell(&self) -> String {
        let answer = match self.answer.kind() {
            AnswerKind::Unspecified => "?",
            AnswerKind::Ok => "ok",
            AnswerKind::NoEffect => "ok without effect",
            AnswerKind::Error => "error",
            AnswerKind::NoAnswerYet => "no answer yet",
            AnswerKind::NoneExpected => "no answer",
        };
        format!("{answer}: {}", self.effect)
    }
}

type Column = Vec<Option<Seen>>;

/// Runs the matrix of one version on one broker.
pub(crate) async fn check(version: &str, broker: Kind) {
    let _turn = celeriac_tests::turn().await;
    let rules = expected::rules();
    let rows = expected::rows(&rules);
    let (scene, workers) = Scene::set(version, broker).await;
    let stages = ALL.into_iter().zip(workers);
    let stages: Vec<_> = stages.map(|(name, one)| scene.stage(name, one)).collect();
    let [fork, auto, threads, gevent, solo] = stages.as_slice() else {
        panic!("five workers were started");
    };
    // Each worker is told one thing after another; all of them at once.
    let columns: [Column; 5] = tokio::join!(
        Box::pin(column(fork, &rows)),
        Box::pin(column(auto, &rows)),
        Box::pin(column(threads, &rows)),
        Box::pin(column(gevent, &rows)),
        Box::pin(column(solo, &rows)),
    )
    .into();
    // Past the test harness's capture, so that it is in the output of a test that passes too.
    let _ = std::io::stderr().write_all(table(version, broker, &rows, &columns).as_bytes());
    let wrong = wrong(version, &rules, &rows, &columns);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn column(stage: &Stage<'_>, rows: &[&'static str]) -> Column {
    stage.first_seen().await;
    let mut column = Vec::new();
    for row in rows {
        *stage.row.lock().unwrap_or_else(PoisonError::into_inner) = row;
        // Each probe is large, and there are many of them.
        column.push(Box::pin(probes::run(stage, row)).await);
    }
    column
}

/// Cells that are not as expected.
fn wrong(version: &str, rules: &[Rule], rows: &[&str], columns: &[Column; 5]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, column) in ALL.into_iter().zip(columns) {
        for (row, seen) in rows.iter().zip(column) {
            let rule = expected::rule(rules, row, name, version);
            let right = match (seen, rule) {
                (Some(seen), Some(rule)) => rule.holds(seen),
                (seen, rule) => seen.is_none() && rule.is_none(),
            };
            if !right {
                let place = format!("{version} {name} {row}");
                wrong.push(format!("{place}\n  expected {rule:?}\n  saw {seen:?}"));
            }
        }
    }
    wrong
}

fn table(version: &str, broker: Kind, rows: &[&str], columns: &[Column; 5]) -> String {
    let mut text = format!(
        "\n| Celery {version} on {broker:?} | {} |\n",
        ALL.join(" | ")
    );
    text.push_str("|---|---|---|---|---|---|\n");
    for (at, row) in rows.iter().enumerate() {
        let _ = write!(text, "| {row} |");
        for column in columns {
            let cell = column[at].as_ref().map(Seen::cell);
            let _ = write!(text, " {} |", cell.as_deref().unwrap_or("does not apply"));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}
