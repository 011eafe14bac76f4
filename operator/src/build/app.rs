//! The resources of an app: its broker, its pools and its schedulers, keyed by name.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Desired, Kind, Owner, broker};
use crate::crd::common::AppContainer;
use crate::crd::{CelerySpec, LocalReference, ScalingMode, SecretKey, UrlSource};

/// What an app's broker is called.
pub fn broker_name(app: &str) -> String {
    format!("{app}-broker")
}

/// Where an app's broker is found, by its spec and what its own status tells; `None` while that is not known.
pub fn broker_url(app: &str, spec: &CelerySpec, status: &Value) -> Option<UrlSource> {
    let told = SecretKey::deserialize(&status["secretKeyRef"]).ok();
    broker::url_source(&broker_name(app), &spec.broker, told.as_ref())
}

/// The broker of an app.
pub fn broker_object(owner: &Owner, spec: &CelerySpec) -> Desired {
    owner.object(
        Kind::CeleryBroker,
        &broker_name(&owner.name),
        "broker",
        &json!(spec.broker),
    )
}

/// A pool of an app, and how many replicas it is to be made with when it is not the app that says how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredPool {
    /// The CeleryWorker, without replicas if somebody else writes them.
    pub object: Desired,
    /// Replicas to be made with, when others write them afterwards.
    pub initial_replicas: Option<i32>,
}

/// The pools of an app, whose broker is found there.
pub fn pools(owner: &Owner, spec: &CelerySpec, broker: &UrlSource) -> Vec<DesiredPool> {
    let pool = |worker: &crate::crd::app::AppWorker| {
        let mut options = worker.options.clone();
        inherit(spec, &mut options.container);
        let mut body = json!(options);
        let initial_replicas = match options.scaling.mode {
            ScalingMode::Fixed => None,
            ScalingMode::External => Some(options.replicas),
            ScalingMode::Native => Some(options.scaling.min.unwrap_or(1)),
        };
        if initial_replicas.is_some()
            && let Some(fields) = body.as_object_mut()
        {
            fields.remove("replicas");
        }
        belong(owner, spec, broker, &mut body);
        let name = format!("{}-{}", owner.name, worker.name);
        DesiredPool {
            object: owner.object(Kind::CeleryWorker, &name, "worker", &body),
            initial_replicas,
        }
    };
    spec.workers.iter().map(pool).collect()
}

/// The schedulers of an app, whose broker is found there.
pub fn schedulers(owner: &Owner, spec: &CelerySpec, broker: &UrlSource) -> Vec<Desired> {
    let scheduler = |scheduler: &crate::crd::app::AppScheduler| {
        let mut options = scheduler.options.clone();
        inherit(spec, &mut options.container);
        let mut body = json!(options);
        belong(owner, spec, broker, &mut body);
        let name = format!("{}-{}", owner.name, scheduler.name);
        owner.object(Kind::CeleryScheduler, &name, "scheduler", &body)
    };
    spec.schedulers.iter().map(scheduler).collect()
}

/// What a pool or scheduler does not say, the app says.
fn inherit(spec: &CelerySpec, container: &mut AppContainer) {
    if container.image.is_none() {
        container.image.clone_from(&spec.image);
    }
    if container.app_name.is_none() {
        container.app_name.clone_from(&spec.app_name);
    }
}

fn belong(owner: &Owner, spec: &CelerySpec, broker: &UrlSource, body: &mut Value) {
    body["celeryRef"] = json!(LocalReference {
        name: owner.name.clone()
    });
    body["broker"] = json!(broker);
    if let Some(backend) = &spec.result_backend {
        body["resultBackend"] = json!(backend);
    }
}
