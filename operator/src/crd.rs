//! The custom resources of `celeriac.dev/v1alpha1` as types: what a user writes, and what the operator answers in their
//! status. Pure. Descriptions here are the reference manual, which `kubectl explain` shows; what one field alone can break
//! is refused by the API server (schema and CEL).

pub mod app;
pub mod broker;
pub mod common;
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are switches of a command line"
)]
pub mod pool;
pub mod scheduler;
pub mod status;
pub mod worker;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use app::{Celery, CelerySpec, CeleryStatus, Inspector};
pub use broker::{BrokerType, BrokerVariant, CeleryBroker, CeleryBrokerSpec, CeleryBrokerStatus};
pub use common::{EnvVar, LocalReference, Opaque, Resources, SecretKey, UrlSource};
pub use pool::{Optimization, Pool, PoolOptions, Scaling, ScalingMode, Sidecar};
pub use scheduler::{CeleryScheduler, CelerySchedulerSpec, CelerySchedulerStatus};
pub use status::{Condition, Live};
pub use worker::{CeleryWorker, CeleryWorkerSpec, CeleryWorkerStatus, SidecarPin};

/// The API group.
pub const GROUP: &str = "celeriac.dev";

/// All definitions, in the order in which people meet them.
pub fn definitions() -> [CustomResourceDefinition; 4] {
    [
        Celery::crd(),
        CeleryBroker::crd(),
        CeleryWorker::crd(),
        CeleryScheduler::crd(),
    ]
}

/// The same as YAML, each with the name of its file in `deploy/crds`.
///
/// # Errors
/// Never, as long as the types can be written as YAML.
pub fn manifests() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    let manifest = |definition: CustomResourceDefinition| {
        let text = serde_saphyr::to_string(&definition)?;
        let name = definition.metadata.name.unwrap_or_default();
        Ok((format!("{name}.yaml"), format!("{}\n", text.trim_end())))
    };
    definitions().into_iter().map(manifest).collect()
}

#[cfg(test)]
mod tests;
