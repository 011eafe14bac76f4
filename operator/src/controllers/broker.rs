//! A broker: what a Redis of our own needs, or where an external one is.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, json};

use super::scheduler::one_is_ready;
use super::{App, Context};
use crate::build::broker as build;
use crate::build::{Kind, Owner};
use crate::crd::status::Truth;
use crate::crd::{BrokerType, CeleryBroker};
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
        let source = build::url_source(&owner.name, &self.spec);
        if self.spec.type_ == BrokerType::Redis {
            self.password(context, &owner).await?;
        }
        let secrets = SecretUse::default()
            .url(Some(&source))
            .fingerprint(&context.client, &owner.namespace)
            .await?;
        let mut fields = Map::new();
        if let Some(key) = &source.secret_key_ref {
            fields.insert("secretKeyRef".to_owned(), json!(key));
        }
        let fact = match self.spec.type_ {
            BrokerType::External => {
                if let Some(address) = &source.address {
                    fields.insert("endpoint".to_owned(), json!(address));
                }
                Fact::new(
                    "Ready",
                    Truth::True,
                    "External",
                    "its URL is known; it is run by somebody else",
                )
            }
            BrokerType::Redis => {
                fields.insert("endpoint".to_owned(), json!(build::endpoint(&owner)));
                let mut ready = true;
                for object in build::objects(&owner, &self.spec, secrets.as_deref()) {
                    let now = context.apply.object(&owner.namespace, &object).await?;
                    ready &= object.kind != Kind::StatefulSet || one_is_ready(&now);
                }
                if ready {
                    Fact::new("Ready", Truth::True, "RedisRuns", "Redis runs")
                } else {
                    Fact::new(
                        "Ready",
                        Truth::False,
                        "RedisNotReady",
                        "the pod of Redis is not ready",
                    )
                }
            }
        };
        Ok(Some(Findings {
            fields,
            facts: vec![fact],
        }))
    }
}

impl CeleryBroker {
    /// Makes the Secret of a new broker. One that is there is kept: a volume that was kept knows its password.
    async fn password(&self, context: &Context, owner: &Owner) -> Result<(), Error> {
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
            string_data: Some(build::secret_data(owner, &password())),
            ..Secret::default()
        };
        context.apply.new_secret(&owner.namespace, &secret).await
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
