//! Why beat is not ready, by its one pod: where it may still run although nobody hears of it, that is said, with what a person
//! can do who knows more.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::crd::status::Truth;
use crate::report::Fact;

/// For how long a pod may be there after it was to be gone. A kubelet that is well needs some seconds.
const LATE: SignedDuration = SignedDuration::from_secs(30);

/// What is said of a beat that is not ready.
pub(super) fn not_ready(pod: Option<&Pod>, now: Timestamp) -> Fact {
    let (reason, message) = match pod {
        None => ("BeatNotReady", "there is no pod of beat yet".to_owned()),
        Some(pod) => of_pod(pod, now),
    };
    Fact::new("Ready", Truth::False, reason, message)
}

fn of_pod(pod: &Pod, now: Timestamp) -> (&'static str, String) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let ends = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    match (node, lost_since(pod), ends) {
        (Some(node), Some(since), _) => {
            let what =
                format!("node {node} is not heard of since {since}, and pod {name} is on it");
            ("NodeSilent", may_run(&what, node))
        }
        (Some(node), None, Some(by)) if now.duration_since(by) > LATE => {
            let what = format!(
                "pod {name} was to be gone by {by}, and node {node} does not say that it is"
            );
            ("BeatLingers", may_run(&what, node))
        }
        (_, _, Some(by)) => (
            "BeatEnds",
            format!("pod {name} is to be gone by {by}; the next is made when it is"),
        ),
        (_, _, None) => ("BeatNotReady", format!("pod {name} is not ready")),
    }
}

/// Neither the operator nor Kubernetes can tell a machine that is off from one that is cut off.
fn may_run(what: &str, node: &str) -> String {
    format!(
        "{what}: beat may still run there, so no other is started until the node is back. If that machine is off for certain: \
         kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    )
}

/// Since when Kubernetes takes the pod's node for lost. It then says of the pod that it is not ready, and leaves the rest as the
/// kubelet last said it; a kubelet says that of a pod whose containers are ready only for its readiness gates.
fn lost_since(pod: &Pod) -> Option<Timestamp> {
    let all = pod.status.as_ref()?.conditions.as_deref()?;
    let of = |type_: &str, status: &str| {
        let mut all = all.iter();
        all.find(|one| one.type_ == type_ && one.status == status)
    };
    of("ContainersReady", "True")?;
    let ready = of("Ready", "False")?;
    let gates = ready.reason.as_deref() == Some("ReadinessGatesNotReady");
    let since = ready.last_transition_time.as_ref()?;
    (!gates).then_some(since.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod whose conditions `Ready` and `ContainersReady` are these, the first since 10:00.
    fn pod(ready: &Value, containers: &str, ends: &Value) -> Pod {
        let mut ready = ready.clone();
        ready["type"] = json!("Ready");
        ready["lastTransitionTime"] = json!("2026-01-01T10:00:00Z");
        let object = json!({
            "metadata": {"name": "beat-0", "deletionTimestamp": ends},
            "spec": {"containers": [], "nodeName": "n1"},
            "status": {"conditions": [ready, {"type": "ContainersReady", "status": containers}]},
        });
        serde_json::from_value(object).expect("it is a pod")
    }

    #[test]
    fn a_beat_that_may_still_run_is_told_from_one_that_is_not_there_yet() {
        let yes = json!({"status": "True"});
        let lost = json!({"status": "False"});
        let kubelets = json!({"status": "False", "reason": "ContainersNotReady"});
        let gates = json!({"status": "False", "reason": "ReadinessGatesNotReady"});
        let (none, noon) = (Value::Null, json!("2026-01-01T12:00:00Z"));
        for (pod, now, reason) in [
            (pod(&kubelets, "False", &none), "12:00:00", "BeatNotReady"),
            (pod(&gates, "True", &none), "12:00:00", "BeatNotReady"),
            (pod(&lost, "True", &none), "12:00:00", "NodeSilent"),
            (pod(&lost, "True", &noon), "11:59:00", "NodeSilent"),
            (pod(&yes, "True", &noon), "11:59:59", "BeatEnds"),
            (pod(&kubelets, "False", &noon), "12:00:30", "BeatEnds"),
            (pod(&yes, "True", &noon), "12:00:31", "BeatLingers"),
        ] {
            let now = format!("2026-01-01T{now}Z").parse().expect("it is a time");
            assert_eq!(not_ready(Some(&pod), now).reason, reason, "{pod:?}");
        }
        assert_eq!(
            not_ready(None, Timestamp::UNIX_EPOCH).reason,
            "BeatNotReady"
        );
    }

    #[test]
    fn it_is_said_where_since_when_and_what_can_be_done() {
        let lost = pod(&json!({"status": "False"}), "True", &Value::Null);
        let message = not_ready(Some(&lost), Timestamp::UNIX_EPOCH).message;
        for part in [
            "n1",
            "beat-0",
            "2026-01-01T10:00:00Z",
            "no other is started",
            "out-of-service",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
