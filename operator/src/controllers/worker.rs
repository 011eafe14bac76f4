//! A pool: its Deployment, and how many of its workers are there.

use kube::api::DynamicObject;
use serde_json::{Map, json};

use super::{App, Context};
use crate::build::worker as build;
use crate::crd::CeleryWorker;
use crate::crd::status::Truth;
use crate::error::Error;
use crate::fetch::SecretUse;
use crate::report::{Fact, Findings};
use crate::validate::{self, ValidPool};

impl App for CeleryWorker {
    const KIND: &'static str = "CeleryWorker";

    fn app(&self) -> Option<String> {
        self.spec
            .celery_ref
            .as_ref()
            .map(|celery| celery.name.clone())
    }

    async fn step(&self, context: &Context) -> Result<Option<Findings>, Error> {
        if self.metadata.deletion_timestamp.is_some() {
            // Its Deployment goes by its owner reference.
            return Ok(None);
        }
        let owner = self.owner();
        let (spec, container) = (&self.spec, &self.spec.options.container);
        let secrets = SecretUse::of_app(&spec.broker, spec.result_backend.as_ref(), container)
            .variables(self.spec.options.sidecar.variables())
            .fingerprint(&context.client, &owner.namespace)
            .await?;
        let valid = validate::pool(&self.spec.options, secrets);
        let wanted = self.spec.options.replicas;
        let bare = build::deployment(&owner, spec, &valid, None);
        let (guard, digest) = self.guard(context, &owner, &bare).await?;
        let object = match &guard {
            Some(guard) => build::deployment(&owner, spec, &valid, Some(guard)),
            None => bare,
        };
        let apply = &context.apply;
        let deployment = apply.scaled(&owner.namespace, &object, wanted).await?;
        // How many there are follows what is wanted, one drained worker after the other.
        context.moved.notify_one();
        for object in build::others(&owner, spec) {
            apply.object(&owner.namespace, &object).await?;
        }
        let optional = [
            (
                crate::build::Kind::PodDisruptionBudget,
                self.spec.options.disruption_budget.enabled,
            ),
            (
                crate::build::Kind::NetworkPolicy,
                self.spec.options.isolation.enabled,
            ),
        ];
        for (kind, wanted) in optional {
            if !wanted {
                context.remove(&owner, kind, &owner.name).await?;
            }
        }
        let mut found = findings(&owner.name, wanted, &valid, &deployment);
        found.fields.insert("podsDigest".to_owned(), json!(digest));
        if let Some(guard) = guard {
            found.fields.insert("sidecar".to_owned(), json!(guard.pin));
        }
        Ok(Some(found))
    }
}

fn findings(name: &str, wanted: i32, valid: &ValidPool, deployment: &DynamicObject) -> Findings {
    let status = &deployment.data["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let observed = status["observedGeneration"].as_i64() == deployment.metadata.generation;
    let (ready, updated, all) = (
        count("readyReplicas"),
        count("updatedReplicas"),
        count("replicas"),
    );
    let mut fields = Map::new();
    fields.insert("replicas".to_owned(), json!(all));
    fields.insert("readyReplicas".to_owned(), json!(ready));
    fields.insert("updatedReplicas".to_owned(), json!(updated));
    fields.insert("selector".to_owned(), json!(build::pod_selector(name)));
    if let Some(concurrency) = valid.concurrency {
        fields.insert("concurrency".to_owned(), json!(concurrency));
    }
    let wanted = i64::from(wanted);
    let settled = observed && updated == wanted && all == wanted;
    let (truth, reason) = if observed && ready >= wanted {
        (Truth::True, "WorkersReady")
    } else {
        (Truth::False, "WorkersNotReady")
    };
    let message = format!("{ready} of {wanted} workers are ready");
    let ready_fact = Fact::new("Ready", truth, reason, message);
    let progressing = if observed && updated == all && all > wanted {
        let message = format!("{all} pods, of which {} are to go", all - wanted);
        Fact::new("Progressing", Truth::True, "Lowering", message)
    } else if settled {
        Fact::new(
            "Progressing",
            Truth::False,
            "Settled",
            "all pods are of the current template",
        )
    } else {
        let message =
            format!("{updated} of {wanted} pods are of the current template, {all} in all");
        Fact::new("Progressing", Truth::True, "RollingOut", message)
    };
    Findings {
        fields,
        facts: vec![ready_fact, progressing, lint(valid)],
        again: None,
    }
}

fn lint(valid: &ValidPool) -> Fact {
    match valid.lints.as_slice() {
        [] => Fact::new(
            "ConfigLint",
            Truth::False,
            "NothingFound",
            "the settings go together",
        ),
        lints => {
            let messages: Vec<&str> = lints.iter().map(|lint| lint.message.as_str()).collect();
            Fact::new(
                "ConfigLint",
                Truth::True,
                lints[0].reason,
                messages.join("; "),
            )
        }
    }
}
