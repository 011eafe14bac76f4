//! What tasks wrote of themselves, and what follows of it for workers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use celeriac_tests::eventually;
use celeriac_tests::kube::{Call, SOON};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

/// How long ago something has to be, in seconds, for the operator to know of it: workers tell of themselves every two.
const KNOWN: f64 = 5.0;

/// A folder in which every task writes when it begins and ends, whoever runs it.
pub(crate) struct Truth(TempDir);

/// One line of it.
struct Note {
    id: String,
    worker: String,
    what: String,
    time: f64,
}

/// A pod that was chosen to go, and when.
pub(crate) struct Victim {
    pod: String,
    at: f64,
}

impl Truth {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn notes(&self) -> Vec<Note> {
        let text = std::fs::read_to_string(self.path().join("log")).unwrap_or_default();
        // A last line may be in the writing.
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .map(|line| {
                let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
                Note {
                    id: text("id"),
                    worker: text("worker"),
                    what: text("what"),
                    time: line["time"].as_f64().expect("notes have a time"),
                }
            })
            .collect()
    }

    /// The workers that started a task, in order.
    pub(crate) fn starters(&self, task: &str) -> Vec<String> {
        let notes = self.notes().into_iter();
        let starts = notes.filter(|note| note.id == task && note.what == "start");
        starts.map(|note| note.worker).collect()
    }

    /// Waits until so many of those tasks have returned.
    pub(crate) async fn returned(&self, sent: &[String], wanted: usize) {
        let what = format!("{wanted} of {} tasks have returned", sent.len());
        eventually(&what, SOON * 3, async || {
            let notes = self.notes();
            let returned = notes.iter().filter(|note| note.what == "return");
            let returned: BTreeSet<&String> = returned.map(|note| &note.id).collect();
            match sent.iter().filter(|id| returned.contains(id)).count() {
                enough if enough >= wanted => Ok(()),
                count => Err(format!("{count}")),
            }
        })
        .await;
    }

    /// Each of them was started once and returned once, and nothing else was.
    ///
    /// # Panics
    /// When that is not so.
    pub(crate) fn each_once(&self, sent: &[String]) {
        let mut did: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut times: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let notes = self.notes();
        for note in &notes {
            let line = format!("{:.3} {} {}", note.time, note.worker, note.what);
            did.entry(note.id.clone()).or_default().push(line);
            times.entry(note.id.clone()).or_default().push(&note.what);
        }
        let once = |id: &&String| {
            times
                .get(*id)
                .is_some_and(|did| did == &["start", "return"])
        };
        let wrong: Vec<_> = sent
            .iter()
            .filter(|id| !once(id))
            .map(|id| (id, did.get(id)))
            .collect();
        assert!(
            wrong.is_empty(),
            "lost, interrupted or run twice: {wrong:#?}"
        );
        assert_eq!(did.len(), sent.len());
        println!("{} tasks, each started once and returned once", sent.len());
    }

    /// When each worker ran a task: from, until.
    fn spans(&self) -> BTreeMap<String, Vec<(f64, f64)>> {
        let mut begun: BTreeMap<String, f64> = BTreeMap::new();
        let mut spans: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for note in self.notes() {
            if note.what == "start" {
                begun.insert(note.id, note.time);
            } else if let Some(from) = begun.remove(&note.id) {
                let of_worker = spans.entry(note.worker).or_default();
                of_worker.push((from, note.time));
            }
        }
        spans
    }

    /// Of victims among these pods, taken from first to last: how many were chosen while another pod was known to be busy, and
    /// those that were known to be busy themselves while another was known to be idle.
    pub(crate) fn chosen<'a>(
        &self,
        victims: &'a [Victim],
        pods: &[String],
    ) -> (usize, Vec<&'a str>) {
        let spans = self.spans();
        let of = |pod: &str| {
            let spans = spans.get(&format!("celery@{pod}"));
            spans.map(Vec::as_slice).unwrap_or_default()
        };
        let mut left: BTreeSet<&str> = pods.iter().map(String::as_str).collect();
        let (mut beside_busy, mut wrong) = (0, Vec::new());
        for victim in victims {
            let at = victim.at;
            let busy = |pod: &str| {
                let mut spans = of(pod).iter();
                spans.any(|&(from, until)| from < at - KNOWN && at < until)
            };
            let idle = |pod: &str| {
                let mut spans = of(pod).iter();
                !spans.any(|&(from, until)| from < at && at - KNOWN < until)
            };
            left.remove(victim.pod.as_str());
            if left.iter().any(|pod| busy(pod)) {
                beside_busy += 1;
            }
            if busy(&victim.pod) && left.iter().any(|pod| idle(pod)) {
                wrong.push(victim.pod.as_str());
            }
        }
        (beside_busy, wrong)
    }
}

/// The pods that an operator marked for a drain, in order.
pub(crate) fn victims(writes: &[Call]) -> Vec<Victim> {
    let marks = writes.iter().filter(|call| {
        call.resource == "pods"
            && call.code == 200
            && call.body["metadata"]["annotations"]["celeriac.dev/drain"].is_string()
    });
    marks
        .map(|call| {
            let at: Timestamp = call.at.parse().expect("a time");
            Victim {
                pod: call.name.clone(),
                at: at.as_duration().as_secs_f64(),
            }
        })
        .collect()
}
