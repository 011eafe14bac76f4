//! What a pool's sidecars are made with: of which kind they are, and the Secret with their token.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde_json::json;

use super::Context;
use super::broker::password;
use crate::build::sidecar::{self as build, Before, Guard, REFRESH_ANNOTATION, TOKEN_KEY};
use crate::build::{Desired, Owner, worker};
use crate::crd::CeleryWorker;
use crate::error::Error;
use crate::fetch;

impl CeleryWorker {
    /// What its sidecars are made with, none when it shall have none, and the digest of what else is in its pods. `bare` is
    /// its Deployment without sidecars.
    ///
    /// # Errors
    /// When its Secret cannot be read or made.
    pub(super) async fn guard(
        &self,
        context: &Context,
        owner: &Owner,
        bare: &Desired,
    ) -> Result<(Option<Guard>, String), Error> {
        let status = self.status.as_ref();
        let before = Before {
            built: status.is_some_and(|status| status.selector.is_some()),
            digest: status.and_then(|status| status.pods_digest.as_deref()),
            pin: status.and_then(|status| status.sidecar.as_ref()),
        };
        let refresh = self.annotations().get(REFRESH_ANNOTATION);
        let digest = build::digest(bare, &self.spec, refresh.map(String::as_str));
        let pin = build::pin(&self.spec, context.inspection.as_ref(), &digest, before);
        let Some(pin) = pin else {
            return Ok((None, digest));
        };
        let token = token(context, owner).await?;
        Ok((Some(Guard { pin, token }), digest))
    }
}

/// The pool's token, from its Secret, which is made when it is not there.
async fn token(context: &Context, owner: &Owner) -> Result<String, Error> {
    let name = build::secret_name(&owner.name);
    let (client, namespace) = (&context.client, &owner.namespace);
    let mut found = fetch::secret(client, namespace, &name).await?;
    if found.is_none() {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(worker::secret_labels(owner)),
                owner_references: serde_json::from_value(json!([owner.reference()])).ok(),
                ..ObjectMeta::default()
            },
            string_data: Some(BTreeMap::from([(TOKEN_KEY.to_owned(), password())])),
            ..Secret::default()
        };
        context.apply.new_secret(namespace, &secret).await?;
        // Another may have been first.
        found = fetch::secret(client, namespace, &name).await?;
    }
    // One of a pool of the same name that is gone goes too, and with it the token.
    let owners = found.iter().flat_map(ResourceExt::owner_references);
    if owners.into_iter().any(|other| other.uid != owner.uid) {
        return Err(Error::NameTaken {
            kind: "Secret",
            name,
        });
    }
    let data = found.and_then(|secret| secret.data).unwrap_or_default();
    let token = data.get(TOKEN_KEY).map(|value| value.0.clone());
    let token = token.and_then(|bytes| String::from_utf8(bytes).ok());
    token.ok_or_else(|| Error::SecretMissing {
        name,
        key: TOKEN_KEY.to_owned(),
    })
}
