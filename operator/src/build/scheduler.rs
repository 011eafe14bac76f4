//! The objects of a scheduler: a StatefulSet of one. A StatefulSet never starts a pod before the last one of that name is
//! known to be gone, so there are never two beats, also when a node is lost; a Deployment gives no such promise.

use serde_json::{Value, json};

use super::{Desired, Kind, Owner, pod, selector, worker::word};
use crate::crd::CelerySchedulerSpec;

const COMPONENT: &str = "scheduler";

/// Where the schedule is kept.
const FOLDER: &str = "/var/lib/celery";

/// A group that owns the volume, so that a user who is not root can write to it.
const VOLUME_GROUP: i64 = 65_532;

/// The label selector of its pod.
pub fn pod_selector(name: &str) -> String {
    format!("celeriac.dev/{COMPONENT}={name}")
}

/// The objects of a scheduler. `secrets` is the fingerprint of what its pod reads from Secrets.
pub fn objects(owner: &Owner, spec: &CelerySchedulerSpec, secrets: Option<&str>) -> Vec<Desired> {
    let options = &spec.options;
    let mut arguments = vec![
        "beat".to_owned(),
        format!("--loglevel={}", word(&options.log_level).to_uppercase()),
        format!("--schedule={FOLDER}/schedule"),
        // One that a killed beat left on a volume would keep the next from starting.
        "--pidfile=".to_owned(),
    ];
    if let Some(class) = &options.scheduler_class {
        arguments.push(format!("--scheduler={class}"));
    }
    arguments.extend(options.extra_args.iter().cloned());
    let mut container = pod::celery_container(
        &options.container,
        arguments,
        &spec.broker,
        spec.result_backend.as_ref(),
    );
    container["volumeMounts"] = json!([{"name": "schedule", "mountPath": FOLDER}]);
    let mut security = pod::locked_pod();
    security["fsGroup"] = json!(VOLUME_GROUP);
    let mut pod = pod::celery_pod();
    pod.insert("securityContext".to_owned(), security);
    pod.insert("containers".to_owned(), json!([container]));
    pod::app_pod(&options.container, &mut pod);
    let template = pod::template(
        owner,
        COMPONENT,
        Value::Object(pod),
        secrets,
        options.container.pod_template.as_ref(),
    );
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": options.storage.size}},
    });
    if let Some(class) = &options.storage.storage_class_name {
        claim["storageClassName"] = json!(class);
    }
    vec![owner.object(
        Kind::StatefulSet,
        &owner.name,
        COMPONENT,
        &json!({
            "replicas": 1,
            "serviceName": owner.name,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(COMPONENT, &owner.name)},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "volumeClaimTemplates": [{
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "schedule"}, "spec": claim,
            }],
            "template": template,
        }),
    )]
}
