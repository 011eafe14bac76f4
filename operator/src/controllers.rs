//! One reconcile for each resource, and what they have in common: pause, report of success and of failure, waits.

pub mod app;
pub mod broker;
mod rabbitmq;
pub mod run;
pub mod scheduler;
mod sidecar;
mod wakes;
pub mod worker;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use celeriac_process::error_chain;
use jiff::Timestamp;
use kube::api::Api;
use kube::core::{NamespaceResourceScope, object::HasStatus};
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::apply::Apply;
use crate::autoscale::DOWN_WINDOW;
use crate::build::inspector::Inspection;
use crate::build::{Kind, Owner};
use crate::crd::Condition;
use crate::crd::status::{Conditions, Truth};
use crate::error::Error;
use crate::fetch;
use crate::metrics::Metrics;
use crate::report::{Fact, Findings, own_part, report};

/// While this annotation is `true`, an object's own objects are left as they are.
pub const PAUSED: &str = "celeriac.dev/paused";

/// How often Secrets are read again: they are not watched, since that would need the right to read all of them.
pub const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// What every reconcile may use.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Writes of objects.
    pub apply: Apply,
    /// Writes of Events.
    pub recorder: Recorder,
    /// Where inspectors report to, if anywhere.
    pub inspection: Option<Inspection>,
    /// The file with the operator's own token for the aggregator.
    pub token_file: Option<std::path::PathBuf>,
    /// Over how long the highest number of workers that was wanted is kept, in native scaling.
    pub scale_down_window: Duration,
    /// Counters.
    pub metrics: Metrics,
    /// Something changed that the number of a pool's pods may follow.
    pub moved: Notify,
    /// Failures in a row, of objects whose last reconcile failed.
    failures: Mutex<HashMap<(&'static str, String, String), u32>>,
}

impl Context {
    /// What every reconcile may use.
    pub fn new(
        client: Client,
        recorder: Recorder,
        inspection: Option<Inspection>,
        metrics: Metrics,
    ) -> Self {
        Self {
            apply: Apply::new(client.clone()),
            client,
            recorder,
            inspection,
            token_file: None,
            scale_down_window: DOWN_WINDOW,
            metrics,
            moved: Notify::new(),
            failures: Mutex::default(),
        }
    }
}

impl Context {
    /// Takes away an object that is no longer wanted, if it is this owner's.
    async fn remove(&self, owner: &Owner, kind: Kind, name: &str) -> Result<(), Error> {
        let found = fetch::object(&self.client, kind, &owner.namespace, name).await?;
        let ours = found.filter(|object| fetch::controller(object) == Some(&owner.uid));
        match ours {
            Some(object) => self.apply.delete(&owner.namespace, kind, &object).await,
            None => Ok(()),
        }
    }
}

/// A resource of ours.
pub trait App:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Conditions>
    + ResourceExt
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its kind.
    const KIND: &'static str;

    /// The app that it belongs to, by name.
    fn app(&self) -> Option<String>;

    /// Fetches, validates, builds and applies. `None`: it is on its way out, and there is nothing to report.
    fn step(
        &self,
        context: &Context,
    ) -> impl Future<Output = Result<Option<Findings>, Error>> + Send;

    /// Its conditions as they are.
    fn conditions(&self) -> &[Condition] {
        self.status().map_or(&[], Conditions::conditions)
    }

    /// Its status as it is.
    fn status_value(&self) -> Value {
        json!(self.status())
    }

    /// It as an owner of objects.
    fn owner(&self) -> Owner {
        Owner {
            kind: Self::KIND,
            name: self.name_any(),
            namespace: self.namespace().unwrap_or_default(),
            uid: self.uid().unwrap_or_default(),
            app: self.app(),
        }
    }
}

/// One reconcile.
///
/// # Errors
/// When a step failed; the status says so already.
pub async fn reconcile<K: App>(object: Arc<K>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let key = (K::KIND, namespace.clone(), object.name_any());
    let paused = object
        .annotations()
        .get(PAUSED)
        .is_some_and(|value| value == "true");
    let deleted = object.meta().deletion_timestamp.is_some();
    let outcome = if paused && !deleted {
        Ok(Some(held(object.as_ref())))
    } else {
        object.step(&context).await
    };
    context
        .metrics
        .on_reconcile(K::KIND, outcome.as_ref().err());
    let findings = match &outcome {
        Ok(None) => {
            context.failures.lock().remove(&key);
            return Ok(Action::requeue(Duration::from_secs(2)));
        }
        Ok(Some(findings)) => findings.clone(),
        Err(error) => failed(object.as_ref(), error),
    };
    let again = findings.again.unwrap_or(LOOK_AGAIN);
    report(
        &api,
        &context.recorder,
        object.as_ref(),
        findings,
        Timestamp::now(),
    )
    .await?;
    outcome?;
    context.failures.lock().remove(&key);
    Ok(Action::requeue(again))
}

/// When a failed reconcile is tried again.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the controller hands them over like that"
)]
pub fn after_failure<K: App>(object: Arc<K>, error: &Error, context: Arc<Context>) -> Action {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let mut failures = context.failures.lock();
    let count = failures
        .entry((K::KIND, namespace.clone(), name.clone()))
        .or_default();
    let wait = error.wait(*count);
    *count = count.saturating_add(1);
    let words = error_chain(error);
    tracing::warn!(
        kind = K::KIND,
        namespace,
        name,
        reason = error.reason(),
        error = words,
        ?wait,
        "failed"
    );
    Action::requeue(wait)
}

/// What is said of an object whose reconcile failed: all that was known, and that it may be so no longer.
fn failed<K: App>(object: &K, error: &Error) -> Findings {
    let ready = Fact::new("Ready", Truth::False, error.reason(), error_chain(error));
    kept(object, ready, "Ready")
}

/// What is said of an object that is paused.
fn held<K: App>(object: &K) -> Findings {
    let message = format!("annotation {PAUSED} is set: nothing is changed until it is removed");
    kept(
        object,
        Fact::new("Paused", Truth::True, "Annotated", message),
        "Paused",
    )
}

/// The status as it is, but for one condition.
fn kept<K: App>(object: &K, fact: Fact, type_: &str) -> Findings {
    let mut fields = own_part(object.status_value());
    fields.remove("conditions");
    fields.remove("observedGeneration");
    let mut facts: Vec<Fact> = object
        .conditions()
        .iter()
        .filter(|condition| condition.type_ != type_)
        .filter_map(known)
        .collect();
    facts.insert(0, fact);
    Findings {
        fields,
        facts,
        again: None,
    }
}

/// Types of conditions, so that those in a status can be kept.
const TYPES: [&str; 6] = [
    "Ready",
    "Progressing",
    "Paused",
    "ConfigLint",
    "BrokerReady",
    "InspectorReady",
];

fn known(condition: &Condition) -> Option<Fact> {
    let type_ = TYPES.into_iter().find(|type_| *type_ == condition.type_)?;
    Some(Fact::new(
        type_,
        condition.status,
        &condition.reason,
        condition.message.clone(),
    ))
}
