//! The objects of a pool: Deployment, PodDisruptionBudget, and a NetworkPolicy when it is asked for. How many workers run is
//! not in the Deployment: that has a writer of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sidecar::{self, Guard};
use super::{Desired, Kind, Owner, pod, selector};
use crate::crd::{CeleryWorkerSpec, Optimization, Pool, PoolOptions};
use crate::validate::ValidPool;

const COMPONENT: &str = "worker";

/// The label that names the pool of a pod.
pub const POD_LABEL: &str = "celeriac.dev/worker";

/// The objects of a pool beside its Deployment.
pub fn others(owner: &Owner, spec: &CeleryWorkerSpec) -> Vec<Desired> {
    let mut objects = Vec::new();
    let budget = &spec.options.disruption_budget;
    if budget.enabled {
        objects.push(owner.object(
            Kind::PodDisruptionBudget,
            &owner.name,
            COMPONENT,
            &json!({
                "selector": {"matchLabels": selector(COMPONENT, &owner.name)},
                "maxUnavailable": budget.max_unavailable,
                // A pod that does not run cannot lose a task.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            }),
        ));
    }
    if spec.options.isolation.enabled {
        objects.push(owner.object(
            Kind::NetworkPolicy,
            &owner.name,
            COMPONENT,
            &json!({
                "podSelector": {"matchLabels": selector(COMPONENT, &owner.name)},
                "policyTypes": ["Ingress"],
                "ingress": [],
            }),
        ));
    }
    objects
}

/// The labels of the Secret of its sidecars.
pub fn secret_labels(owner: &Owner) -> BTreeMap<String, String> {
    super::secret_labels(owner, COMPONENT)
}

/// The label selector of the pods, as `/scale` wants it.
pub fn pod_selector(name: &str) -> String {
    format!("{POD_LABEL}={name}")
}

/// The Deployment of a pool, with sidecars or without.
pub fn deployment(
    owner: &Owner,
    spec: &CeleryWorkerSpec,
    valid: &ValidPool,
    guard: Option<&Guard>,
) -> Desired {
    let options = &spec.options;
    let mut container = pod::celery_container(
        &options.container,
        arguments(options, valid.concurrency),
        &spec.broker,
        spec.result_backend.as_ref(),
    );
    if let Some(guard) = guard {
        sidecar::watch(&mut container, guard);
    }
    let mut pod = pod::celery_pod();
    pod.insert(
        "terminationGracePeriodSeconds".to_owned(),
        json!(valid.grace_seconds),
    );
    pod.insert("securityContext".to_owned(), pod::locked_pod());
    pod.insert("containers".to_owned(), json!([container]));
    pod::app_pod(&options.container, &mut pod);
    if let Some(guard) = guard {
        sidecar::add(&mut pod, owner, spec, valid.grace_seconds, guard);
    }
    let mut template = pod::template(
        owner,
        COMPONENT,
        Value::Object(pod),
        valid.secrets.as_deref(),
        options.container.pod_template.as_ref(),
    );
    if let Some(guard) = guard {
        sidecar::annotate(&mut template, guard);
    }
    owner.object(
        Kind::Deployment,
        &owner.name,
        COMPONENT,
        &json!({
            "selector": {"matchLabels": selector(COMPONENT, &owner.name)},
            "revisionHistoryLimit": 3,
            // New workers first: a pool never has less than it should.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "template": template,
        }),
    )
}

/// What follows `celery -A APP`.
fn arguments(options: &PoolOptions, concurrency: Option<i32>) -> Vec<String> {
    let mut arguments = vec!["worker".to_owned()];
    let mut option = |name: &str, value: String| arguments.push(format!("{name}={value}"));
    // The pod's name is the worker's, so that one can be found from the other.
    option("--hostname", "celery@$(POD_NAME)".to_owned());
    option("--loglevel", word(&options.log_level).to_uppercase());
    option("--pool", word(&options.pool));
    if let Some(concurrency) = concurrency {
        option("--concurrency", concurrency.to_string());
    }
    if !options.target_queues.is_empty() {
        option("--queues", options.target_queues.join(","));
    }
    if let Some(multiplier) = options.prefetch_multiplier {
        option("--prefetch-multiplier", multiplier.to_string());
    }
    for (name, value) in [
        ("--soft-time-limit", options.soft_time_limit),
        ("--time-limit", options.time_limit),
        ("--max-tasks-per-child", options.max_tasks_per_child),
        ("--max-memory-per-child", options.max_memory_per_child),
    ] {
        if let Some(value) = value {
            option(name, value.to_string());
        }
    }
    // Celery 4 knows no long form.
    if options.pool == Pool::Prefork && options.optimization == Optimization::Fair {
        arguments.push("-Ofair".to_owned());
    }
    for (flag, wanted) in [
        ("--disable-prefetch", options.disable_prefetch),
        ("--without-gossip", options.without_gossip),
        ("--without-mingle", options.without_mingle),
        ("-E", options.task_events),
    ] {
        if wanted {
            arguments.push(flag.to_owned());
        }
    }
    arguments.extend(options.extra_args.iter().cloned());
    arguments
}

/// A value as its schema writes it.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        other => unreachable!("an enum of plain words became {other:?}"),
    }
}
