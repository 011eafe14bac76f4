//! Parts that the pods of workers, schedulers, inspectors and brokers share.

use serde_json::{Map, Value, json};

use super::merge::merge_maps;
use super::{Owner, SECRETS_ANNOTATION, selector};
use crate::crd::common::AppContainer;
use crate::crd::{EnvVar, Opaque, Resources, UrlSource};

/// The image and app that an owner's schema requires; empty only if its rules were switched off, and then refused by the
/// API server.
pub(super) fn celery_container(
    container: &AppContainer,
    arguments: Vec<String>,
    broker: &UrlSource,
    result_backend: Option<&UrlSource>,
) -> Value {
    let app = container.app_name.clone().unwrap_or_default();
    // `-A` before the subcommand: Celery 5 takes it nowhere else, and 4 takes it there too.
    let mut all = vec!["-A".to_owned(), app];
    all.extend(arguments);
    let mut env = vec![pod_name(), url("CELERY_BROKER_URL", broker)];
    env.extend(result_backend.map(|backend| url("CELERY_RESULT_BACKEND", backend)));
    env.extend(variables(&container.env));
    let mut value = json!({
        "name": "celery",
        "image": container.image.clone().unwrap_or_default(),
        "command": ["celery"],
        "args": all,
        "env": env,
        "securityContext": locked(),
    });
    let fields = value.as_object_mut().expect("it was written as an object");
    if let Some(policy) = container.image_pull_policy {
        fields.insert("imagePullPolicy".to_owned(), json!(policy));
    }
    if !container.env_from.is_empty() {
        fields.insert("envFrom".to_owned(), json!(container.env_from));
    }
    add_resources(fields, &container.resources);
    value
}

/// A variable with the pod's name.
pub(super) fn pod_name() -> Value {
    json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
}

/// A variable with a URL: from its Secret, so that no password is in the pod's description.
pub(super) fn url(name: &str, source: &UrlSource) -> Value {
    match (&source.secret_key_ref, &source.address) {
        (Some(key), _) => json!({
            "name": name, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}},
        }),
        (None, address) => json!({"name": name, "value": address.clone().unwrap_or_default()}),
    }
}

/// A user's variables.
pub(super) fn variables(env: &[EnvVar]) -> impl Iterator<Item = Value> + '_ {
    env.iter().map(|variable| json!(variable))
}

/// Adds resources, if there are any.
pub(super) fn add_resources(container: &mut Map<String, Value>, resources: &Resources) {
    if !resources.is_empty() {
        container.insert("resources".to_owned(), json!(resources));
    }
}

/// What a container needs no right for, it has no right to: the `restricted` Pod Security Standard.
pub(super) fn locked() -> Value {
    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
}

/// The pod's part of the same.
pub(super) fn locked_pod() -> Value {
    json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
}

/// The parts of a pod that come from an app's container.
pub(super) fn app_pod(container: &AppContainer, spec: &mut Map<String, Value>) {
    // Tasks talk to brokers, not to the API server, unless somebody names an account for it.
    match &container.service_account_name {
        Some(name) => spec.insert("serviceAccountName".to_owned(), json!(name)),
        None => spec.insert("automountServiceAccountToken".to_owned(), json!(false)),
    };
    if !container.image_pull_secrets.is_empty() {
        spec.insert(
            "imagePullSecrets".to_owned(),
            json!(container.image_pull_secrets),
        );
    }
}

/// How a pod of Celery begins. A process 1 does not hear a signal that it has no handler for, and Celery has none for SIGTERM
/// while it starts: a worker that is told to end then would go on, take tasks, and be killed with them when its grace period is
/// over; beat would send tasks until then. As one process of the pod's namespace it ends.
pub(super) fn celery_pod() -> Map<String, Value> {
    let mut pod = Map::new();
    pod.insert("shareProcessNamespace".to_owned(), json!(true));
    // Variables that Kubernetes makes of Services can break a program that reads its settings from there.
    pod.insert("enableServiceLinks".to_owned(), json!(false));
    pod
}

/// A pod template: the operator's, with the user's over it. What selects its pods is the operator's in any case.
pub(super) fn template(
    owner: &Owner,
    component: &str,
    spec: Value,
    secrets: Option<&str>,
    over: Option<&Opaque>,
) -> Value {
    let mut metadata = json!({"labels": owner.labels(component)});
    if let Some(secrets) = secrets {
        metadata["annotations"] = json!({SECRETS_ANNOTATION: secrets});
    }
    let mut template = Map::new();
    template.insert("metadata".to_owned(), metadata);
    template.insert("spec".to_owned(), spec);
    if let Some(over) = over {
        merge_maps(&mut template, &over.0);
    }
    let mut template = Value::Object(template);
    if template["spec"]["hostPID"] == true
        && let Some(spec) = template["spec"].as_object_mut()
    {
        // Kubernetes refuses both, and there nobody of the pod is process 1.
        spec.remove("shareProcessNamespace");
    }
    if let Value::Object(own) = selector(component, &owner.name) {
        for (key, value) in own {
            template["metadata"]["labels"][key] = value;
        }
    }
    template
}
