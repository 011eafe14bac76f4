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
        let spec = &self.spec;
        let secrets = self
            .secrets()
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

impl CeleryWorker {
    /// What its pods read from Secrets.
    pub(super) fn secrets(&self) -> SecretUse {
        let (spec, options) = (&self.spec, &self.spec.options);
        SecretUse::of_app(
            &spec.broker,
            spec.result_backend.as_ref(),
            &options.container,
        )
        .variables(options.sidecar.variables())
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
    // Pods that are ready are, also while Kubernetes has not looked yet at what a lowering or an edit has just written.
    let (truth, reason) = if ready >= wanted {
        (Truth::True, "WorkersReady")
    } else {
        (Truth::False, "WorkersNotReady")
    };
    let message = if ready > wanted {
        format!("{ready} workers are ready, {wanted} are wanted")
    } else {
        format!("{ready} of {wanted} workers are ready")
    };
    let ready_fact = Fact::new("Ready", truth, reason, message);
    let progressing = if updated == all && all > wanted {
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn told(generation: i64, status: &Value, wanted: i32) -> Vec<(Truth, String)> {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "mail", "generation": generation}, "status": status,
        });
        let deployment = serde_json::from_value(object).expect("a Deployment");
        let valid = ValidPool {
            concurrency: None,
            grace_seconds: 30,
            secrets: None,
            lints: Vec::new(),
        };
        let facts = findings("mail", wanted, &valid, &deployment).facts;
        let of = |fact: Fact| (fact.truth, fact.reason);
        facts.into_iter().take(2).map(of).collect()
    }

    /// Between a write and Kubernetes' look at it, nothing that was there is gone.
    #[test]
    fn a_lowering_neither_flaps_nor_looks_like_a_rollout() {
        let lowering = [
            (Truth::True, "WorkersReady".to_owned()),
            (Truth::True, "Lowering".to_owned()),
        ];
        let four = json!({"observedGeneration": 1, "replicas": 4, "updatedReplicas": 4, "readyReplicas": 4});
        for generation in [1, 2] {
            assert_eq!(told(generation, &four, 1), lowering);
        }
        let settled = told(1, &four, 4);
        assert_eq!(settled[1], (Truth::False, "Settled".to_owned()));
        let edited = told(2, &four, 4);
        assert_eq!(edited[0], (Truth::True, "WorkersReady".to_owned()));
        assert_eq!(edited[1], (Truth::True, "RollingOut".to_owned()));
        let new = told(1, &Value::Null, 1);
        assert_eq!(new[0], (Truth::False, "WorkersNotReady".to_owned()));
    }
}
