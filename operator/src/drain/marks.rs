//! What a drain leaves on its pod, so that whoever leads next goes on with it or undoes it: annotations, read and written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The annotation of a pod whose worker is on its way out: a [`Mark`] as JSON.
pub const DRAIN: &str = "celeriac.dev/drain";

/// The annotation of a pod whose worker was on its way out and was kept: an [`Undone`] as JSON.
pub const UNDONE: &str = "celeriac.dev/undone";

/// Kubernetes' own: of like pods of a ReplicaSet the one with the least goes first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The cost of a pod whose worker is on its way out.
pub const COST_DRAINING: i32 = -1_000;

/// The cost of a pod whose worker has nothing left.
pub const COST_DRAINED: i32 = -2_000_000_000;

/// What is written on a pod before its worker is told to take no more tasks.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Which drain.
    pub id: String,
    /// Identity of the pod: another of the same name is another pod.
    pub pod_uid: String,
    /// The life of its container, by the container's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Celery's process, as its worker names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// The queues that it consumed, in order.
    pub queues: Vec<String>,
    /// Since when.
    pub since: Timestamp,
}

/// What is written on a pod whose drain was undone. Celery forgets such a worker's queues at its next connection, so it has to
/// be looked after for as long as its container lives.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Undone {
    /// Identity of the pod.
    pub pod_uid: String,
    /// The life of its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The queues that it is meant to consume, in order.
    pub queues: Vec<String>,
    /// Since when.
    pub since: Timestamp,
}

/// Annotations as a merge patch sets them; `None` takes one away.
pub type Annotations = Map<String, Value>;

/// The annotations of a worker on its way out.
pub fn marked(mark: &Mark) -> Annotations {
    annotations([
        (DRAIN, Some(json!(mark).to_string())),
        (UNDONE, None),
        (DELETION_COST, Some(COST_DRAINING.to_string())),
    ])
}

/// The annotations of a worker that was kept.
pub fn kept(undone: &Undone) -> Annotations {
    annotations([
        (DRAIN, None),
        (UNDONE, Some(json!(undone).to_string())),
        (DELETION_COST, None),
    ])
}

/// The annotations of a worker that is like any other.
pub fn unmarked() -> Annotations {
    annotations([(DRAIN, None), (UNDONE, None), (DELETION_COST, None)])
}

/// The annotations of a worker that has nothing left: it is the next to go.
pub fn drained() -> Annotations {
    annotations([(DELETION_COST, Some(COST_DRAINED.to_string()))])
}

fn annotations<const N: usize>(of: [(&str, Option<String>); N]) -> Annotations {
    of.into_iter()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_later_fields_are_left_aside() {
        let mark = Mark {
            id: "1f".to_owned(),
            pod_uid: "u".to_owned(),
            container: Some("containerd://a".to_owned()),
            pid: Some(1),
            queues: vec!["mail".to_owned()],
            since: "2026-01-01T00:00:00Z".parse().expect("a time"),
        };
        let text = marked(&mark)[DRAIN].as_str().expect("a text").to_owned();
        assert_eq!(
            text,
            r#"{"container":"containerd://a","id":"1f","pid":1,"podUid":"u","queues":["mail"],"since":"2026-01-01T00:00:00Z"}"#
        );
        let later = text.replace(r#""id""#, r#""of": "later", "id""#);
        assert_eq!(
            serde_json::from_str::<Mark>(&later).expect("it is read"),
            mark
        );
        assert_eq!(marked(&mark)[UNDONE], Value::Null);
    }
}
