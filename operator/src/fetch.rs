//! Reads of the cluster.

pub mod password;

use std::num::NonZeroU32;

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use ring::pbkdf2;
use serde_json::Value;

use crate::build::{APP_LABEL, Kind};
use crate::crd::common::AppContainer;
use crate::crd::{CeleryBroker, EnvVar, SecretKey, UrlSource};
use crate::error::{Deed, Error};

/// Rounds of the fingerprint of Secrets: it is written on pods, and shall not help to guess a short password. Half a
/// millisecond each.
const ROUNDS: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// The API of a kind in a namespace.
pub fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let (group, version, plural) = kind.resource();
    let kind = GroupVersionKind::gvk(group, version, kind.name());
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// An object, if it is there.
///
/// # Errors
/// When the API server does not say.
pub async fn object(
    client: &Client,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<DynamicObject>, Error> {
    let found = api(client, kind, namespace).get_opt(name).await;
    found.map_err(|error| Error::of(deed("read", kind, name), error))
}

/// Whether the API server knows a kind. Only an answer says that it does not; who may not ask does not know.
///
/// # Errors
/// When the API server does not say.
pub async fn knows(client: &Client, kind: Kind) -> Result<bool, Error> {
    let (group, version, plural) = kind.resource();
    let failed = |error| Error::of(deed("look for the kind", kind, ""), error);
    let groups = client.list_api_groups().await.map_err(failed)?;
    let mut versions = groups
        .groups
        .iter()
        .filter(|one| one.name == group)
        .flat_map(|one| &one.versions);
    if !versions.any(|one| one.version == version) {
        return Ok(false);
    }
    let group = format!("{group}/{version}");
    let resources = client.list_api_group_resources(&group).await;
    let resources = resources.map_err(failed)?.resources;
    Ok(resources.iter().any(|one| one.name == plural))
}

/// The objects of an app that one `Celery` owns. Of this namespace only: another app may have the same name elsewhere.
///
/// # Errors
/// When the API server does not say.
pub async fn owned(
    client: &Client,
    kind: Kind,
    namespace: &str,
    app: &str,
    uid: &str,
) -> Result<Vec<DynamicObject>, Error> {
    let params = ListParams::default().labels(&format!("{APP_LABEL}={app}"));
    let list = api(client, kind, namespace).list(&params).await;
    let list = list.map_err(|error| Error::of(deed("list", kind, app), error))?;
    let ours = |object: &DynamicObject| controller(object) == Some(uid);
    Ok(list.items.into_iter().filter(ours).collect())
}

/// The pods that a selector finds.
///
/// # Errors
/// When the API server does not say.
pub async fn pods(client: &Client, namespace: &str, selector: &str) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(selector)).await;
    let list = list.map_err(|error| {
        let deed = Deed {
            verb: "list",
            kind: "Pod",
            name: selector.to_owned(),
        };
        Error::of(deed, error)
    })?;
    Ok(list.items)
}

/// A broker as the API server has it now.
///
/// # Errors
/// When the API server does not say.
pub async fn broker(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<CeleryBroker>, Error> {
    let brokers: Api<CeleryBroker> = Api::namespaced(client.clone(), namespace);
    let found = brokers.get_opt(name).await;
    found.map_err(|error| Error::of(deed("read", Kind::CeleryBroker, name), error))
}

/// Who controls an object.
pub fn controller(object: &DynamicObject) -> Option<&str> {
    let owners = object
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some(&owner.uid)
}

/// What is done, for an error.
pub fn deed(verb: &'static str, kind: Kind, name: &str) -> Deed {
    Deed {
        verb,
        kind: kind.name(),
        name: name.to_owned(),
    }
}

/// A Secret, if it is there.
///
/// # Errors
/// When the API server does not say.
pub async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    secrets.get_opt(name).await.map_err(|error| {
        let deed = Deed {
            verb: "read",
            kind: "Secret",
            name: name.to_owned(),
        };
        Error::of(deed, error)
    })
}

/// What pods read from Secrets: keys that must be there, and keys or whole Secrets that may be.
#[derive(Debug, Default)]
pub struct SecretUse {
    required: Vec<SecretKey>,
    others: Vec<(String, Option<String>)>,
}

impl SecretUse {
    /// What the pods of an app's code read.
    pub fn of_app(
        broker: &UrlSource,
        result_backend: Option<&UrlSource>,
        container: &AppContainer,
    ) -> Self {
        let urls = Self::default().url(Some(broker)).url(result_backend);
        urls.container(container)
    }

    /// A URL that must be there.
    #[must_use]
    pub fn url(mut self, source: Option<&UrlSource>) -> Self {
        self.required
            .extend(source.and_then(|source| source.secret_key_ref.clone()));
        self
    }

    /// A key that must be there.
    #[must_use]
    pub fn key(mut self, secret: &str, key: &str) -> Self {
        self.required.push(SecretKey {
            name: secret.to_owned(),
            key: key.to_owned(),
        });
        self
    }

    /// What a container's variables come from.
    fn container(self, container: &AppContainer) -> Self {
        let mut with = self.variables(&container.env);
        for source in &container.env_from {
            let source = source.0.get("secretRef").unwrap_or(&Value::Null);
            if let Some(name) = source["name"].as_str() {
                with.others.push((name.to_owned(), None));
            }
        }
        with
    }

    /// What variables come from, which need not be there.
    #[must_use]
    pub fn variables(mut self, env: &[EnvVar]) -> Self {
        for variable in env
            .iter()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            let source = variable.0.get("secretKeyRef").unwrap_or(&Value::Null);
            if let (Some(name), Some(key)) = (source["name"].as_str(), source["key"].as_str()) {
                self.others.push((name.to_owned(), Some(key.to_owned())));
            }
        }
        self
    }

    /// Whether a Secret is among what is read.
    pub fn names(&self, secret: &str) -> bool {
        let required = self.required.iter().map(|one| one.name.as_str());
        let others = self.others.iter().map(|(name, _)| name.as_str());
        required.chain(others).any(|name| name == secret)
    }

    /// A fingerprint of what is there now; `None` when nothing is read. The values themselves go no further than this.
    ///
    /// # Errors
    /// When a required key is missing, or the API server does not say.
    pub async fn fingerprint(
        self,
        client: &Client,
        namespace: &str,
    ) -> Result<Option<String>, Error> {
        let mut content = Vec::new();
        let mut add = |bytes: &[u8]| {
            content.extend_from_slice(&bytes.len().to_be_bytes());
            content.extend_from_slice(bytes);
        };
        let required = self.required.iter();
        let required = required.map(|one| (one.name.clone(), Some(one.key.clone()), true));
        let others = self.others.iter();
        let others = others.map(|(name, key)| (name.clone(), key.clone(), false));
        let all: Vec<_> = required.chain(others).collect();
        if all.is_empty() {
            return Ok(None);
        }
        for (name, key, required) in all {
            let data = secret(client, namespace, &name)
                .await?
                .and_then(|found| found.data);
            let data = data.unwrap_or_default();
            match &key {
                Some(key) => match data.get(key) {
                    Some(value) => add(&value.0),
                    None if required => {
                        return Err(Error::SecretMissing {
                            name,
                            key: key.clone(),
                        });
                    }
                    None => add(b""),
                },
                None => data.iter().for_each(|(key, value)| {
                    add(key.as_bytes());
                    add(&value.0);
                }),
            }
        }
        let mut fingerprint = [0_u8; 8];
        let salt = namespace.as_bytes();
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ROUNDS,
            salt,
            &content,
            &mut fingerprint,
        );
        Ok(Some(format!("{:016x}", u64::from_be_bytes(fingerprint))))
    }
}

/// Whether a namespace is being deleted, or gone.
///
/// # Errors
/// When the API server does not say.
pub async fn namespace_goes(client: &Client, name: &str) -> Result<bool, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.get_opt(name).await {
        Ok(found) => Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())),
        // An operator of single namespaces may not be allowed to ask; then parts go in order here too.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        Err(error) => {
            let deed = Deed {
                verb: "read",
                kind: "Namespace",
                name: name.to_owned(),
            };
            Err(Error::of(deed, error))
        }
    }
}
