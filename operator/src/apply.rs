//! Writes of what the operator makes, by server-side apply. An object that is as it was when it was last applied is only
//! read; what others put beside our fields stays.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::build::{Desired, Kind, MANAGED_BY};
use crate::error::{Deed, Error};
use crate::fetch::{self, controller, deed};

/// Who writes everything but replicas and status.
pub const BUILD_MANAGER: &str = "celeriac-operator";

/// The one writer of replicas.
pub const SCALE_MANAGER: &str = "celeriac-operator/scale";

/// Objects remembered as applied: about 100 bytes each. When there are more, all are forgotten, which costs each one
/// apply that changes nothing.
const APPLIED_MAX: usize = 100_000;

/// Writes objects.
pub struct Apply {
    client: Client,
    applied: Mutex<HashMap<(Kind, String, String), Applied>>,
}

/// An object as it was after it was applied.
#[derive(PartialEq, Eq)]
struct Applied {
    uid: Option<String>,
    /// What changes when somebody changes the object's spec: its generation, or its version where it has none.
    version: Option<String>,
    wanted: u64,
}

impl Apply {
    /// Writes through `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            applied: Mutex::default(),
        }
    }

    /// Makes an object what it should be; what it is then.
    ///
    /// # Errors
    /// When it is somebody else's, or the API server refuses it.
    pub async fn object(&self, namespace: &str, wanted: &Desired) -> Result<DynamicObject, Error> {
        let live = fetch::object(&self.client, wanted.kind, namespace, &wanted.name).await?;
        self.over(namespace, wanted, live).await
    }

    async fn over(
        &self,
        namespace: &str,
        wanted: &Desired,
        live: Option<DynamicObject>,
    ) -> Result<DynamicObject, Error> {
        let key = (wanted.kind, namespace.to_owned(), wanted.name.clone());
        let hash = hash(&wanted.body);
        if let Some(live) = live {
            check_owner(wanted, &live)?;
            if self.applied.lock().get(&key) == Some(&applied(&live, hash)) {
                return Ok(live);
            }
        }
        let now = self
            .patch(
                namespace,
                wanted.kind,
                &wanted.name,
                BUILD_MANAGER,
                &wanted.body,
            )
            .await?;
        let mut all = self.applied.lock();
        if all.len() >= APPLIED_MAX {
            all.clear();
        }
        all.insert(key, applied(&now, hash));
        Ok(now)
    }

    /// As [`Apply::object`], of an object whose `spec.replicas` has its own writer: `replicas` is set when it is made, and
    /// kept from being lost when the builder of the object stops to name it.
    ///
    /// # Errors
    /// As [`Apply::object`].
    pub async fn scaled(
        &self,
        namespace: &str,
        wanted: &Desired,
        replicas: i32,
    ) -> Result<DynamicObject, Error> {
        let live = fetch::object(&self.client, wanted.kind, namespace, &wanted.name).await?;
        match &live {
            None => {
                // Made by the writer of replicas, so that it never has Kubernetes' default of one.
                let mut body = wanted.body.clone();
                body["spec"]["replicas"] = json!(replicas);
                self.patch(namespace, wanted.kind, &wanted.name, SCALE_MANAGER, &body)
                    .await?;
                self.over(namespace, wanted, None).await?;
                self.replicas(namespace, wanted, replicas).await
            }
            Some(object) => {
                check_owner(wanted, object)?;
                let now = replicas_of(object);
                if let Some(now) = now
                    && wrote_replicas(object, BUILD_MANAGER)
                {
                    self.replicas(namespace, wanted, now).await?;
                }
                self.over(namespace, wanted, live).await
            }
        }
    }

    /// Sets `spec.replicas` of an object that is there.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn replicas(
        &self,
        namespace: &str,
        object: &Desired,
        replicas: i32,
    ) -> Result<DynamicObject, Error> {
        let body = json!({
            "apiVersion": object.body["apiVersion"],
            "kind": object.body["kind"],
            "metadata": {"name": object.name, "namespace": namespace},
            "spec": {"replicas": replicas},
        });
        let now = self
            .patch(namespace, object.kind, &object.name, SCALE_MANAGER, &body)
            .await?;
        // Our own change is none that has to be put right; what of the rest was not applied yet still has to be.
        let key = (object.kind, namespace.to_owned(), object.name.clone());
        let wanted = hash(&object.body);
        let mut all = self.applied.lock();
        if let Some(known) = all.get_mut(&key).filter(|known| known.wanted == wanted) {
            *known = applied(&now, wanted);
        }
        Ok(now)
    }

    /// Sets `spec.replicas` of a Deployment, if it still is as it was read.
    ///
    /// # Errors
    /// When somebody changed it in between, or the API server refuses it.
    pub async fn scale(
        &self,
        namespace: &str,
        name: &str,
        replicas: u32,
        read: &Deployment,
    ) -> Result<(), Error> {
        let body = json!({
            "apiVersion": "apps/v1",
            "kind": Kind::Deployment.name(),
            "metadata": {
                "name": name, "namespace": namespace, "resourceVersion": read.metadata.resource_version,
            },
            "spec": {"replicas": replicas},
        });
        let now = self
            .patch(namespace, Kind::Deployment, name, SCALE_MANAGER, &body)
            .await?;
        // Our own change is none that has to be put right.
        let key = (Kind::Deployment, namespace.to_owned(), name.to_owned());
        let before = read.metadata.generation.map(|before| before.to_string());
        if let Some(known) = self.applied.lock().get_mut(&key)
            && known.version == before
        {
            *known = applied(&now, known.wanted);
        }
        Ok(())
    }

    async fn patch(
        &self,
        namespace: &str,
        kind: Kind,
        name: &str,
        manager: &str,
        body: &Value,
    ) -> Result<DynamicObject, Error> {
        let params = PatchParams {
            // A field that nobody knows is a mistake in somebody's podTemplate.
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply(manager).force()
        };
        let api = fetch::api(&self.client, kind, namespace);
        let applied = api.patch(name, &params, &Patch::Apply(body)).await;
        let now = applied.map_err(|error| Error::of(deed("apply", kind, name), error))?;
        tracing::info!(kind = kind.name(), namespace, name, manager, "applied");
        Ok(now)
    }

    /// Makes a Secret, unless it is there.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn new_secret(&self, namespace: &str, secret: &Secret) -> Result<(), Error> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams {
            field_manager: Some(BUILD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match secrets.create(&params, secret).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => {
                let deed = Deed {
                    verb: "create",
                    kind: "Secret",
                    name,
                };
                Err(Error::of(deed, error))
            }
        }
    }

    /// Deletes an object, and what it owns before it.
    ///
    /// # Errors
    /// When the API server refuses it. That it is gone already is none.
    pub async fn delete(
        &self,
        namespace: &str,
        kind: Kind,
        object: &DynamicObject,
    ) -> Result<(), Error> {
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let mut params = DeleteParams::foreground();
        params.preconditions = object
            .metadata
            .uid
            .clone()
            .map(|uid| kube::api::Preconditions {
                uid: Some(uid),
                resource_version: None,
            });
        match fetch::api(&self.client, kind, namespace)
            .delete(name, &params)
            .await
        {
            Ok(_) => {
                tracing::info!(kind = kind.name(), namespace, name, "deleted");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(Error::of(deed("delete", kind, name), error)),
        }
    }
}

/// An object's `spec.replicas`.
fn replicas_of(object: &DynamicObject) -> Option<i32> {
    let replicas = object.data["spec"]["replicas"].as_i64()?;
    i32::try_from(replicas).ok()
}

fn wrote_replicas(object: &DynamicObject, manager: &str) -> bool {
    let managers = object
        .metadata
        .managed_fields
        .as_deref()
        .unwrap_or_default();
    managers
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some(manager))
        .filter_map(|entry| entry.fields_v1.as_ref())
        .any(|fields| fields.0["f:spec"]["f:replicas"].is_object())
}

/// An object of another owner is never touched.
fn check_owner(wanted: &Desired, live: &DynamicObject) -> Result<(), Error> {
    let labels = live.metadata.labels.as_ref();
    let managed = labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    let ours = match controller(live) {
        Some(uid) => uid == wanted.owner,
        // One that lost its owner and carries our name is taken up again.
        None => managed.is_some_and(|by| by == MANAGED_BY),
    };
    if ours {
        return Ok(());
    }
    Err(Error::NameTaken {
        kind: wanted.kind.name(),
        name: wanted.name.clone(),
    })
}

fn applied(object: &DynamicObject, wanted: u64) -> Applied {
    let metadata = &object.metadata;
    let generation = metadata.generation.map(|generation| generation.to_string());
    Applied {
        uid: metadata.uid.clone(),
        version: generation.or_else(|| metadata.resource_version.clone()),
        wanted,
    }
}

/// Only compared within this process, so the hasher need not be the same for ever.
fn hash(body: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    hasher.finish()
}
