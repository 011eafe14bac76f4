//! A scheduler: its StatefulSet of one. Nothing here deletes its pod, let alone by force: two beats would be worse than none.

mod beat;

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Map;

use super::{App, Context};
use crate::build::scheduler as build;
use crate::crd::CeleryScheduler;
use crate::crd::status::Truth;
use crate::error::Error;
use crate::fetch::{self, SecretUse};
use crate::report::{Fact, Findings};

impl App for CeleryScheduler {
    const KIND: &'static str = "CeleryScheduler";

    fn app(&self) -> Option<String> {
        self.spec
            .celery_ref
            .as_ref()
            .map(|celery| celery.name.clone())
    }

    async fn step(&self, context: &Context) -> Result<Option<Findings>, Error> {
        if self.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let owner = self.owner();
        let secrets = self
            .secrets()
            .fingerprint(&context.client, &owner.namespace)
            .await?;
        let mut ready = true;
        for object in build::objects(&owner, &self.spec, secrets.as_deref()) {
            let now = context.apply.object(&owner.namespace, &object).await?;
            ready &= one_is_ready(&now);
        }
        let fact = if ready {
            Fact::new("Ready", Truth::True, "BeatRuns", "beat runs")
        } else {
            let selector = build::pod_selector(&owner.name);
            let pods = fetch::pods(&context.client, &owner.namespace, &selector).await?;
            beat::not_ready(pods.first(), Timestamp::now())
        };
        Ok(Some(Findings {
            fields: Map::new(),
            facts: vec![fact],
            again: None,
        }))
    }
}

impl CeleryScheduler {
    /// What its pod reads from Secrets.
    pub(super) fn secrets(&self) -> SecretUse {
        let spec = &self.spec;
        SecretUse::of_app(
            &spec.broker,
            spec.result_backend.as_ref(),
            &spec.options.container,
        )
    }
}

/// Whether the one pod of a StatefulSet is ready, of its current template.
pub(super) fn one_is_ready(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    status["observedGeneration"].as_i64() == object.metadata.generation
        && status["readyReplicas"].as_i64() == Some(1)
        && status["updatedReplicas"].as_i64() == Some(1)
}
