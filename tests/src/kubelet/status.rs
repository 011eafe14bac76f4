//! A pod's status from what its containers do; pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::board::{ContainerState, Ended, State, States};

/// What a node knows of a pod beside its containers.
pub(super) struct Facts {
    pub(super) host: String,
    /// None while it has none.
    pub(super) address: Option<String>,
    pub(super) since: Timestamp,
    /// It ends, or has ended, for good.
    pub(super) finished: bool,
}

/// The status as a patch of `/status`. Conditions keep the time of their last change if `before` has them.
pub(super) fn status(pod: &Pod, states: &States, facts: &Facts, now: Timestamp) -> Value {
    let spec = pod.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.unwrap_or_default();
    let of = |container: &Container| states.get(&container.name).cloned().unwrap_or_default();
    let initialized = inits.iter().all(|init| {
        let state = of(init);
        if is_sidecar(init) {
            state.started
        } else {
            state.over && code(&state) == Some(0)
        }
    });
    let serving = spec
        .containers
        .iter()
        .chain(inits.iter().filter(|init| is_sidecar(init)));
    let ready = !facts.finished && serving.clone().all(|container| of(container).ready);
    let phase = phase(
        &spec.containers.iter().map(of).collect::<Vec<_>>(),
        initialized,
        facts,
    );
    let condition = |kind: &str, holds: bool, reason: &str| {
        let status = if holds { "True" } else { "False" };
        // Null, so that the reason goes for which it did not hold.
        let reason = (!holds).then_some(reason);
        let condition =
            json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": now});
        kept(pod, kind, status).unwrap_or(condition)
    };
    let list = |containers: &[Container]| {
        let lines = containers.iter();
        Value::from(
            lines
                .map(|one| container_status(pod, one, &of(one)))
                .collect::<Vec<_>>(),
        )
    };
    let not_ready = if phase == "Succeeded" {
        "PodCompleted"
    } else {
        "ContainersNotReady"
    };
    let mut status = json!({
        "phase": phase,
        "hostIP": facts.host,
        "startTime": facts.since,
        "conditions": [
            condition("PodReadyToStartContainers", facts.address.is_some(), ""),
            condition("Initialized", initialized, "ContainersNotInitialized"),
            condition("ContainersReady", ready, not_ready),
            condition("Ready", ready, not_ready),
        ],
        "containerStatuses": list(&spec.containers),
        "initContainerStatuses": list(&inits),
    });
    if let Some(address) = &facts.address {
        status["podIP"] = address.as_str().into();
        status["podIPs"] = json!([{"ip": address}]);
    }
    json!({"status": status})
}

/// Whether an init container is one that goes on running.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn phase(containers: &[ContainerState], initialized: bool, facts: &Facts) -> &'static str {
    let begun =
        |state: &ContainerState| !matches!(state.state, State::Waiting(..)) || state.last.is_some();
    let over = containers.iter().all(|state| state.over);
    let well = containers.iter().all(|state| code(state) == Some(0));
    match () {
        () if over && (facts.finished || initialized) && well => "Succeeded",
        () if over && (facts.finished || initialized) => "Failed",
        () if facts.finished => "Failed",
        () if initialized && containers.iter().any(begun) => "Running",
        () => "Pending",
    }
}

fn code(state: &ContainerState) -> Option<i32> {
    match &state.state {
        State::Ended(ended) => Some(ended.code),
        _ => None,
    }
}

/// A condition that is as it was stays as it was, with its time.
fn kept(pod: &Pod, kind: &str, status: &str) -> Option<Value> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let same = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)?;
    serde_json::to_value(same).ok()
}

fn container_status(pod: &Pod, container: &Container, state: &ContainerState) -> Value {
    let id = format!(
        "process://{}/{}/{}",
        pod.uid().unwrap_or_default(),
        container.name,
        state.restarts
    );
    let ended = |ended: &Ended| {
        json!({"terminated": {"exitCode": ended.code, "reason": ended.reason, "message": ended.message,
            "startedAt": ended.from, "finishedAt": ended.until, "containerID": id}})
    };
    let now = match &state.state {
        State::Waiting(reason, message) => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        State::Running(since) => json!({"running": {"startedAt": since}}),
        State::Ended(end) => ended(end),
    };
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": container.image,
        "containerID": id,
        "state": now,
        "lastState": state.last.as_ref().map_or_else(|| json!({}), ended),
        "ready": state.ready,
        "started": state.started,
        "restartCount": state.restarts,
    })
}
