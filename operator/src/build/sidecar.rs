//! The sidecar of a pool's pods, and what of the worker's container asks it: probes, and a drain before it is stopped. A
//! native sidecar, so that it is there before the worker and outlives it (Kubernetes 1.29 and later).

use serde_json::{Map, Value, json};

use super::inspector::{AUTHORITY_ANNOTATION, Inspection, Trust, set};
use super::{Desired, Owner, pod};
use crate::crd::{CeleryWorkerSpec, Resources, SidecarPin, UrlSource};

const PORT: u16 = 9810;

/// The key of the pool's token in its Secret.
pub const TOKEN_KEY: &str = "drain-token";

/// The header that it is told in.
const TOKEN_HEADER: &str = "X-Celeriac-Drain-Token";

/// This annotation of a CeleryWorker, whatever it says, brings the pool's sidecars to the operator's own settings when it
/// changes.
pub const REFRESH_ANNOTATION: &str = "celeriac.dev/refresh-sidecar";

/// Seconds between the deadline of a drain and the end of the grace period: what a worker needs to end that has nothing to do.
const AFTER_DRAIN: i64 = 30;

/// A liveness probe has to fail for so long, in seconds: longer than a sidecar that ends over and over is kept waiting (5 min),
/// so that only what a sidecar says ends a worker, never that it says nothing.
const LIVENESS_FAILS: u32 = 600;
const LIVENESS_EVERY: u32 = 10;

/// Sidecars as they are, with what they are told.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Of which image, and who tells them of workers.
    pub pin: SidecarPin,
    /// What a drain is asked for with.
    pub token: String,
}

/// What is known of the pool as it was built last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    /// It was built by some operator.
    pub built: bool,
    /// Of what its pods were made, beside their sidecars, as [`digest`] told then.
    pub digest: Option<&'a str>,
    /// Of which kind its sidecars were, if it had any.
    pub pin: Option<&'a SidecarPin>,
}

/// The Secret of a pool's token.
pub fn secret_name(pool: &str) -> String {
    format!("{pool}-sidecar")
}

/// Of which kind the sidecars of a pool are: as they were, or as none were, until something else of its pods changes, since
/// an upgrade of the operator alone replaces no pod. None when it shall have none.
pub fn pin(
    spec: &CeleryWorkerSpec,
    inspection: Option<&Inspection>,
    digest: &str,
    before: Before,
) -> Option<SidecarPin> {
    let sidecar = &spec.options.sidecar;
    match before.digest {
        Some(known) if known == digest => return before.pin.cloned(),
        // By an operator that knew no sidecars.
        None if before.built => return None,
        _ => {}
    }
    if !sidecar.enabled || spec.celery_ref.is_none() {
        return None;
    }
    let inspection = inspection?;
    let image = sidecar.image.as_ref().unwrap_or(&inspection.image);
    Some(SidecarPin {
        image: image.clone(),
        aggregator: inspection.aggregator.clone(),
        authority: inspection.authority.clone(),
        audience: inspection.audience.clone(),
    })
}

/// Tells pods apart by what of them is not of the sidecar's kind. `bare` is the Deployment without sidecars, which is held
/// still by a golden file: so no new version of the operator makes another digest of the same pool.
pub fn digest(bare: &Desired, spec: &CeleryWorkerSpec, refresh: Option<&str>) -> String {
    let template = &bare.body["spec"]["template"];
    let app = spec.celery_ref.as_ref().map(|celery| &celery.name);
    let text = json!([template, spec.options.sidecar, app, refresh]).to_string();
    // FNV-1a: the same in every build of the operator.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// What a sidecar adds to a worker's container: it is ready and alive when the sidecar says so, and drained before it stops.
/// The token is in the pod's description, for all who may read that: a kubelet's hook takes it from nowhere else. It keeps
/// out who can reach pods and not read them; and a drain that nobody follows up is undone.
pub(super) fn watch(container: &mut Value, guard: &Guard) {
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": PORT},
            "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5,
        })
    };
    let failures = LIVENESS_FAILS / LIVENESS_EVERY;
    container["livenessProbe"] = probe("/livez", LIVENESS_EVERY, failures);
    container["readinessProbe"] = probe("/readyz", 5, 3);
    container["lifecycle"] = json!({"preStop": {"httpGet": {
        "path": "/drain", "port": PORT,
        "httpHeaders": [{"name": TOKEN_HEADER, "value": guard.token}],
    }}});
}

/// The sidecar itself, into a pod.
pub(super) fn add(
    pod: &mut Map<String, Value>,
    owner: &Owner,
    spec: &CeleryWorkerSpec,
    grace_seconds: i64,
    guard: &Guard,
) {
    let trust = Trust::of(guard.pin.authority.is_some(), guard.pin.audience.as_deref());
    let mut container = json!({
        "name": "sidecar",
        "image": guard.pin.image,
        "args": ["sidecar"],
        "restartPolicy": "Always",
        "env": env(owner, &spec.broker, grace_seconds, guard, &trust),
        "ports": [{"name": "sidecar", "containerPort": PORT}],
        // The worker begins when it can be asked about.
        "startupProbe": {"httpGet": {"path": "/metrics", "port": PORT}, "periodSeconds": 1, "failureThreshold": 60},
        // One that hangs is itself started again, long before its silence would end the worker.
        "livenessProbe": {
            "httpGet": {"path": "/metrics", "port": PORT},
            "periodSeconds": 20, "failureThreshold": 3, "timeoutSeconds": 10,
        },
        "securityContext": pod::locked(),
        "resources": resources(&spec.options.sidecar.resources),
    });
    let env = container["env"].as_array_mut();
    let env = env.expect("it was written as an array");
    env.extend(pod::variables(&spec.options.sidecar.env));
    container["securityContext"]["readOnlyRootFilesystem"] = json!(true);
    if !trust.mounts.is_empty() {
        container["volumeMounts"] = json!(trust.mounts);
    }
    pod.insert("initContainers".to_owned(), json!([container]));
    if !trust.volumes.is_empty() {
        pod.insert("volumes".to_owned(), json!(trust.volumes));
    }
}

/// What it may use, unless the pool says otherwise. Some 8 MB are what it uses; without requests no autoscaler could tell
/// how much of a pod's is used.
fn resources(own: &Resources) -> Value {
    if own.is_empty() {
        return json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}});
    }
    json!(own)
}

/// What a pod's description brings to the sidecar as a file.
pub(super) fn annotate(template: &mut Value, guard: &Guard) {
    if let Some(authority) = &guard.pin.authority {
        template["metadata"]["annotations"][AUTHORITY_ANNOTATION] = json!(authority);
    }
}

fn env(
    owner: &Owner,
    broker: &UrlSource,
    grace_seconds: i64,
    guard: &Guard,
    trust: &Trust,
) -> Vec<Value> {
    let app = owner.app.clone().unwrap_or_default();
    let name = secret_name(&owner.name);
    // A grace period that leaves no time for a drain is halved.
    let deadline = (grace_seconds - AFTER_DRAIN).max(grace_seconds / 2).max(1);
    let mut env = vec![
        pod::pod_name(),
        pod::url("CELERIAC_INSPECTOR_BROKER", broker),
        // As the worker's own argument.
        set("WORKER", "celery@$(POD_NAME)"),
        set("APP", &format!("{}/{app}", owner.namespace)),
        set("AGGREGATOR", &guard.pin.aggregator),
        set("LISTEN", &format!("0.0.0.0:{PORT}")),
        set("DRAIN_DEADLINE", &format!("{deadline}s")),
        json!({
            "name": "CELERIAC_INSPECTOR_DRAIN_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": name, "key": TOKEN_KEY}},
        }),
    ];
    env.extend(trust.env.iter().cloned());
    env
}
