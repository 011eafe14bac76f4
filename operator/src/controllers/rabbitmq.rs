//! A RabbitMQ: who runs it is decided once, and then it is made by a StatefulSet of ours or by RabbitMQ's own operator.

use std::time::Duration;

use kube::api::Api;
use serde_json::Map;

use super::Context;
use super::broker::{found, one_server, ours, password};
use crate::build::rabbitmq::{CLUSTER_URL_KEY, COOKIE_KEY, Cluster, DEFINITIONS_KEY};
use crate::build::{Kind, Owner, broker, rabbitmq as build};
use crate::crd::status::Truth;
use crate::crd::{BrokerVariant, CeleryBroker, SecretKey};
use crate::error::Error;
use crate::fetch::{self, SecretUse};
use crate::report::{Fact, Findings, report_variant};
use crate::validate;

/// How often one that another operator makes is looked at while it is awaited: its kind need not be there, so it is not
/// watched.
const AWAITED: Duration = Duration::from_secs(5);

impl CeleryBroker {
    pub(super) async fn rabbitmq(
        &self,
        context: &Context,
        owner: &Owner,
    ) -> Result<Findings, Error> {
        let variant = self.variant(context, owner).await?;
        validate::rabbitmq(&self.spec, variant)?;
        match variant {
            BrokerVariant::StatefulSet => self.own_server(context, owner).await,
            BrokerVariant::RabbitmqCluster => self.cluster(context, owner).await,
        }
    }

    /// Who runs it: who always has, else who can. It is in the status before anything is made.
    async fn variant(&self, context: &Context, owner: &Owner) -> Result<BrokerVariant, Error> {
        let told = |broker: &Self| broker.status.as_ref().and_then(|status| status.variant);
        if let Some(variant) = told(self) {
            return Ok(variant);
        }
        // A watch may be behind.
        let (client, namespace) = (&context.client, &owner.namespace);
        let now = fetch::broker(client, namespace, &owner.name).await?;
        let now = now.as_ref().unwrap_or(self);
        if let Some(variant) = told(now) {
            return Ok(variant);
        }
        let variant = if self.was_kept(context, owner).await? {
            BrokerVariant::StatefulSet
        } else if fetch::knows(client, Kind::RabbitmqCluster).await? {
            BrokerVariant::RabbitmqCluster
        } else {
            BrokerVariant::StatefulSet
        };
        // What cannot be had now may be had when the other operator has come.
        validate::rabbitmq(&self.spec, variant)?;
        let brokers = Api::namespaced(client.clone(), namespace);
        report_variant(&brokers, now, variant).await?;
        tracing::info!(
            namespace,
            name = owner.name,
            variant = variant.name(),
            "it is decided who runs a RabbitMQ"
        );
        Ok(variant)
    }

    /// Whether a broker of that name has left its password: then its volume is that of a server of ours.
    async fn was_kept(&self, context: &Context, owner: &Owner) -> Result<bool, Error> {
        let name = broker::secret_name(&owner.name);
        let secret = fetch::secret(&context.client, &owner.namespace, &name).await?;
        let data = secret.and_then(|secret| secret.data);
        Ok(data.is_some_and(|data| data.contains_key(DEFINITIONS_KEY)))
    }

    async fn own_server(&self, context: &Context, owner: &Owner) -> Result<Findings, Error> {
        self.secret(context, owner, || {
            build::secret_data(owner, &password(), &password())
        })
        .await?;
        let key = broker::own_url(&owner.name);
        let secrets = SecretUse::default()
            .key(&key.name, &key.key)
            .key(&key.name, DEFINITIONS_KEY)
            .key(&key.name, COOKIE_KEY)
            .fingerprint(&context.client, &owner.namespace)
            .await?;
        let objects = build::objects(owner, &self.spec, secrets.as_deref());
        let ready = one_server(context, owner, &objects).await?;
        let fact = if ready {
            Fact::new("Ready", Truth::True, "RabbitmqRuns", "RabbitMQ runs")
        } else {
            let message = "the pod of RabbitMQ is not ready";
            Fact::new("Ready", Truth::False, "RabbitmqNotReady", message)
        };
        Ok(found(ours(&key, &build::endpoint(owner)), fact))
    }

    async fn cluster(&self, context: &Context, owner: &Owner) -> Result<Findings, Error> {
        let wanted = build::cluster(owner, &self.spec);
        let now = context.apply.object(&owner.namespace, &wanted).await?;
        let cluster = Cluster::read(now.metadata.generation, &now.data["status"]);
        let mut fields = Map::new();
        if let Some(name) = cluster.secret {
            let key = SecretKey {
                name,
                key: CLUSTER_URL_KEY.to_owned(),
            };
            SecretUse::default()
                .key(&key.name, &key.key)
                .fingerprint(&context.client, &owner.namespace)
                .await?;
            fields = ours(&key, &build::endpoint(owner));
        }
        let mut findings = match cluster.waits {
            None => {
                let message = "RabbitMQ runs, by its own operator";
                found(
                    fields,
                    Fact::new("Ready", Truth::True, "RabbitmqRuns", message),
                )
            }
            Some(why) => {
                let message = format!("RabbitmqCluster {}: {why}", owner.name);
                let reason = "RabbitmqClusterNotReady";
                found(fields, Fact::new("Ready", Truth::False, reason, message))
            }
        };
        if findings.facts[0].truth != Truth::True {
            findings.again = Some(AWAITED);
        }
        Ok(findings)
    }
}
