//! A pod of a pool, as far as a drain needs it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod as Object};

use super::marks::{DELETION_COST, DRAIN, Mark, UNDONE, Undone};

/// The container that runs Celery.
pub(super) const CONTAINER: &str = "celery";

/// What the node name of a worker of ours begins with; the name of its pod follows.
const NODE: &str = "celery@";

/// What Kubernetes makes names of pods of is cut to this (`maxGeneratedNameLength`).
const BASE_MAX: usize = 58;

/// What the node names of a pool's workers begin with.
pub fn nodes(pool: &str) -> String {
    let mut base = format!("{pool}-");
    base.truncate(BASE_MAX);
    format!("{NODE}{base}")
}

/// A pod of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// When it was made.
    pub created: Timestamp,
    /// Kubernetes counts it as ready.
    pub ready: bool,
    /// It is on its way out, or has ended.
    pub terminating: bool,
    /// Its container's process runs. Nothing can be lost with a pod where it does not.
    pub runs: bool,
    /// The life of its container; `None` before its first.
    pub container: Option<String>,
    /// Which ReplicaSet's it is (`pod-template-hash`).
    pub template: Option<String>,
    /// Its deletion cost, when it is a number.
    pub cost: Option<i32>,
    /// What a drain left on it.
    pub mark: Note<Mark>,
    /// What an undone drain left on it.
    pub undone: Note<Undone>,
}

/// An annotation of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note<T> {
    /// It is not there.
    Absent,
    /// Somebody else wrote something else there.
    Unreadable,
    /// It says this.
    Says(T),
}

impl<T> Note<T> {
    /// What it says.
    pub fn says(&self) -> Option<&T> {
        match self {
            Self::Says(what) => Some(what),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Whether there is something.
    pub fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl Pod {
    /// A pod as the API server has it.
    pub fn read(object: &Object) -> Self {
        let metadata = &object.metadata;
        let annotation = |name: &str| {
            let all = metadata.annotations.as_ref()?;
            all.get(name).map(String::as_str)
        };
        let status = object.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let ready = conditions
            .unwrap_or_default()
            .iter()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        let ended = matches!(phase, Some("Succeeded" | "Failed"));
        let worker = container(object);
        let state = worker.and_then(|worker| worker.state.as_ref());
        let created = metadata.creation_timestamp.as_ref();
        let labels = metadata.labels.as_ref();
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            created: created.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            ready,
            terminating: ended || metadata.deletion_timestamp.is_some(),
            runs: state.is_some_and(|state| state.running.is_some()),
            container: worker
                .and_then(|worker| worker.container_id.clone())
                .filter(|id| !id.is_empty()),
            template: labels.and_then(|labels| labels.get("pod-template-hash").cloned()),
            cost: annotation(DELETION_COST).and_then(|cost| cost.parse().ok()),
            mark: note(annotation(DRAIN)),
            undone: note(annotation(UNDONE)),
        }
    }

    /// What its worker is called.
    pub fn node(&self) -> String {
        format!("{NODE}{}", self.name)
    }
}

fn note<T: serde::de::DeserializeOwned>(text: Option<&str>) -> Note<T> {
    match text.map(serde_json::from_str) {
        None => Note::Absent,
        Some(Ok(what)) => Note::Says(what),
        Some(Err(_)) => Note::Unreadable,
    }
}

/// How the container that runs Celery is. A podTemplate may call it otherwise; then the first one is it.
fn container(object: &Object) -> Option<&ContainerStatus> {
    let all = object.status.as_ref()?.container_statuses.as_ref()?;
    let named = all.iter().find(|one| one.name == CONTAINER);
    named.or_else(|| all.first())
}

/// Takes away what nobody here reads: there may be many pods.
pub fn slim(object: &mut Object) {
    object.metadata.managed_fields = None;
    object.metadata.owner_references = None;
    object.spec = None;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::drain::marks::marked;

    fn read(object: Value) -> Pod {
        Pod::read(&serde_json::from_value(object).expect("it is a pod"))
    }

    #[test]
    fn a_pod_is_read_from_its_status_and_annotations() {
        let mark = Mark {
            id: "1".to_owned(),
            pod_uid: "u".to_owned(),
            container: None,
            pid: None,
            queues: Vec::new(),
            since: Timestamp::UNIX_EPOCH,
        };
        let running = |state: &Value| {
            read(json!({
                "metadata": {
                    "name": "p", "uid": "u", "annotations": {DRAIN: marked(&mark)[DRAIN]},
                    "labels": {"pod-template-hash": "7c9f8"},
                },
                "status": {
                    "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [
                        {"name": "other", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                         "state": {"running": {}}, "containerID": "x://other"},
                        {"name": "celery", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                         "state": state, "containerID": "x://1"},
                    ],
                },
            }))
        };
        let pod = running(&json!({"running": {}}));
        assert!(pod.ready && pod.runs && !pod.terminating, "{pod:?}");
        assert_eq!(pod.container.as_deref(), Some("x://1"));
        assert_eq!(pod.template.as_deref(), Some("7c9f8"));
        assert_eq!(pod.mark, Note::Says(mark.clone()));
        assert_eq!(pod.undone, Note::Absent);
        assert_eq!(pod.node(), "celery@p");
        assert!(!running(&json!({"waiting": {"reason": "CrashLoopBackOff"}})).runs);
    }

    #[test]
    fn what_is_not_ours_or_not_there_yet_is_told_apart() {
        let pod = read(json!({
            "metadata": {"name": "p", "annotations": {"celeriac.dev/drain": "yes"}, "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Pending"},
        }));
        assert!(pod.terminating && !pod.runs && !pod.ready);
        assert_eq!(pod.mark, Note::Unreadable);
        assert_eq!((pod.container, pod.cost), (None, None));
    }
}
