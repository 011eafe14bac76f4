//! A broker: what a Redis of our own needs, or where an external one is. A RabbitMQ is beside this.

mod rotation;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};

use super::scheduler::one_is_ready;
use super::{App, Context};
use crate::build::broker as build;
use crate::build::{Desired, Kind, Owner};
use crate::crd::status::Truth;
use crate::crd::{BrokerType, CeleryBroker, SecretKey};
use crate::error::Error;
use crate::fetch::{self, SecretUse};
use crate::report::{Fact, Findings};

impl App for CeleryBroker {
    const KIND: &'static str = "CeleryBroker";

    fn app(&self) -> Option<String> {
        let owners = self
            .metadata
            .owner_references
            .as_deref()
            .unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.kind == "Celery")?;
        Some(owner.name.clone())
    }

    async fn step(&self, context: &Context) -> Result<Option<Findings>, Error> {
        if self.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let owner = self.owner();
        let findings = match self.spec.type_ {
            BrokerType::External => self.external(context, &owner).await,
            BrokerType::Redis => self.redis(context, &owner).await,
            BrokerType::Rabbitmq => self.rabbitmq(context, &owner).await,
        };
        findings.map(Some)
    }
}

impl CeleryBroker {
    async fn external(&self, context: &Context, owner: &Owner) -> Result<Findings, Error> {
        let source = build::url_source(&owner.name, &self.spec, None);
        // That it is there is all there is to know.
        SecretUse::default()
            .url(source.as_ref())
            .fingerprint(&context.client, &owner.namespace)
            .await?;
        let mut fields = Map::new();
        if let Some(key) = &self.spec.secret_key_ref {
            fields.insert("secretKeyRef".to_owned(), json!(key));
        }
        if let Some(address) = &self.spec.broker_address {
            fields.insert("endpoint".to_owned(), json!(address));
        }
        let known = "its URL is known; it is run by somebody else";
        let fact = Fact::new("Ready", Truth::True, "External", known);
        Ok(found(fields, fact))
    }

    async fn redis(&self, context: &Context, owner: &Owner) -> Result<Findings, Error> {
        let data = || build::secret_data(owner, &password(), &password());
        self.secret(context, owner, data).await?;
        let ready = one_server(context, owner, &build::objects(owner, &self.spec)).await?;
        let rotation = rotation::follow(context, owner).await?;
        let fact = if ready {
            rotation.fact()
        } else {
            let message = "the pod of Redis is not ready";
            Fact::new("Ready", Truth::False, "RedisNotReady", message)
        };
        let fields = ours(&build::own_url(&owner.name), &build::endpoint(owner));
        Ok(Findings {
            again: rotation.again(),
            ..found(fields, fact)
        })
    }

    /// Makes the Secret of a new broker. One that is there is kept: a volume that was kept knows its password.
    pub(super) async fn secret(
        &self,
        context: &Context,
        owner: &Owner,
        data: impl FnOnce() -> BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let name = build::secret_name(&owner.name);
        if fetch::secret(&context.client, &owner.namespace, &name)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let owners: Option<Vec<OwnerReference>> = if self.spec.storage.retain {
            // With an owner it would go where the volume stays.
            None
        } else {
            serde_json::from_value(json!([owner.reference()])).ok()
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name),
                labels: Some(build::secret_labels(owner)),
                owner_references: owners,
                ..ObjectMeta::default()
            },
            string_data: Some(data()),
            ..Secret::default()
        };
        context.apply.new_secret(&owner.namespace, &secret).await
    }
}

/// Applies the objects of a broker of one server; whether it is ready.
pub(super) async fn one_server(
    context: &Context,
    owner: &Owner,
    objects: &[Desired],
) -> Result<bool, Error> {
    let mut ready = true;
    for object in objects {
        let now = context.apply.object(&owner.namespace, object).await?;
        ready &= object.kind != Kind::StatefulSet || one_is_ready(&now);
    }
    Ok(ready)
}

/// Where a broker of ours is found.
pub(super) fn ours(key: &SecretKey, endpoint: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("secretKeyRef".to_owned(), json!(key));
    fields.insert("endpoint".to_owned(), json!(endpoint));
    fields
}

pub(super) fn found(fields: Map<String, Value>, fact: Fact) -> Findings {
    Findings {
        fields,
        facts: vec![fact],
        again: None,
    }
}

/// 192 random bits, in letters that need no escape in a URL or a settings file.
pub(super) fn password() -> String {
    let mut bytes = [0_u8; 24];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has random numbers, or TLS had not worked");
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
