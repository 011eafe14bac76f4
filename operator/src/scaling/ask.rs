//! Asks for another number of workers, through a pool's `/scale`.

use celeriac_process::error_chain;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::timeout;

use super::WRITE;
use crate::apply::SCALE_MANAGER;
use crate::controllers::Context;
use crate::crd::CeleryWorker;

/// Tries at a pool whose status is written at the same time.
const TRIES: u32 = 3;

/// Asks for `replicas`, unless somebody has asked for something else since `object` was read. Whether it was taken.
pub(super) async fn ask(context: &Context, object: &CeleryWorker, replicas: u32) -> bool {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api: Api<CeleryWorker> = Api::namespaced(context.client.clone(), &namespace);
    match timeout(WRITE, tries(&api, object, replicas)).await {
        Ok(Ok(taken)) => {
            if taken {
                tracing::info!(namespace, name, replicas, "scaled");
            }
            taken
        }
        Ok(Err(error)) => {
            let error = error_chain(&error);
            tracing::warn!(namespace, name, error, "cannot scale");
            false
        }
        Err(_elapsed) => {
            tracing::warn!(namespace, name, "cannot scale: no answer in {WRITE:?}");
            false
        }
    }
}

async fn tries(
    api: &Api<CeleryWorker>,
    object: &CeleryWorker,
    replicas: u32,
) -> Result<bool, kube::Error> {
    let name = object.name_any();
    let params = PatchParams {
        field_manager: Some(SCALE_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let mut version = object.resource_version();
    for _ in 0..TRIES {
        let body =
            json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}});
        match api.patch_scale(&name, &params, &Patch::Merge(&body)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let now = api.get(&name).await?;
        let (read, now_is) = (&object.metadata, &now.metadata);
        if read.uid != now_is.uid || read.generation != now_is.generation {
            // Somebody asks for something else: the next round has what.
            return Ok(false);
        }
        version = now.resource_version();
    }
    Ok(false)
}
