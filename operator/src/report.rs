//! Writes of what the operator found: status, when it changed, and Events, when a condition did.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Map, Value, json};

use crate::apply::SCALE_MANAGER;
use crate::controllers::App;
use crate::crd::status::{LIVE_CONDITIONS, LIVE_FIELDS, Truth};
use crate::crd::{BrokerVariant, CeleryBroker, CeleryWorker, Condition};
use crate::error::{Deed, Error};

/// Who writes what a reconcile found.
pub const STATUS_MANAGER: &str = "celeriac-operator/status";

/// Who writes what is happening now. It is another writer, so that neither takes away what the other wrote.
pub const LIVE_MANAGER: &str = "celeriac-operator/live";

/// Who writes how far a lowering is, and on pods that they are on their way out.
pub const DRAIN_MANAGER: &str = "celeriac-operator/drain";

/// Who writes, once, who runs a RabbitMQ.
pub const VARIANT_MANAGER: &str = "celeriac-operator/variant";

/// The longest note that an Event may have.
const NOTE_BYTES_MAX: usize = 1_000;

/// The reason of what was not looked at yet: it says nothing, so no Event does.
pub const NEW: &str = "New";

/// One aspect of the state, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Which aspect.
    pub type_: &'static str,
    /// Whether it is so.
    pub truth: Truth,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

impl Fact {
    /// A fact.
    pub fn new(
        type_: &'static str,
        truth: Truth,
        reason: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            truth,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// What a reconcile found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Fields of the status beside its conditions.
    pub fields: Map<String, Value>,
    /// The conditions.
    pub facts: Vec<Fact>,
    /// When to look again, if something is awaited that is not watched.
    pub again: Option<Duration>,
}

/// Writes the status if it changed, and an Event for each condition that did.
///
/// # Errors
/// When the API server does not take it.
pub async fn report<K: App>(
    api: &Api<K>,
    recorder: &Recorder,
    object: &K,
    findings: Findings,
    now: Timestamp,
) -> Result<(), Error> {
    let name = object.name_any();
    let before = object.conditions();
    let generation = object.meta().generation;
    let conditions: Vec<Condition> = findings
        .facts
        .iter()
        .map(|fact| condition(fact, before, generation, now))
        .collect();
    let mut status = findings.fields;
    status.insert("observedGeneration".to_owned(), json!(generation));
    status.insert("conditions".to_owned(), json!(conditions));
    if same(&status, &own_part(object.status_value())) {
        return Ok(());
    }
    if !write(api, &name, STATUS_MANAGER, &Value::Object(status)).await? {
        return Ok(());
    }
    tell(recorder, object, &findings.facts).await;
    Ok(())
}

/// Writes what is happening now, and an Event for each condition that changed.
///
/// # Errors
/// When the API server does not take it.
pub async fn report_live<K: App>(
    api: &Api<K>,
    recorder: &Recorder,
    object: &K,
    findings: Findings,
    now: Timestamp,
) -> Result<(), Error> {
    let before = object.conditions();
    // They are about the app as it runs, not about a generation of its spec.
    let conditions = findings.facts.iter();
    let conditions: Vec<Condition> = conditions
        .map(|fact| condition(fact, before, None, now))
        .collect();
    let mut status = findings.fields;
    status.insert("conditions".to_owned(), json!(conditions));
    let name = object.name_any();
    if write(api, &name, LIVE_MANAGER, &Value::Object(status)).await? {
        tell(recorder, object, &findings.facts).await;
    }
    Ok(())
}

/// Writes how far a lowering is, by a writer of its own. Its Events are told as things happen, not with this.
///
/// # Errors
/// When the API server does not take it.
pub async fn report_drain<K: App>(
    api: &Api<K>,
    object: &K,
    fact: &Fact,
    now: Timestamp,
) -> Result<(), Error> {
    let condition = condition(fact, object.conditions(), None, now);
    let status = json!({"conditions": [condition]});
    write(api, &object.name_any(), DRAIN_MANAGER, &status).await?;
    Ok(())
}

/// Writes what was decided of how many workers a pool has: `None` when that is not the operator's to decide. Events are the
/// caller's.
///
/// # Errors
/// When the API server does not take it.
pub async fn report_scaling(
    api: &Api<CeleryWorker>,
    object: &CeleryWorker,
    fact: Option<&Fact>,
    scaled: Option<Time>,
    now: Timestamp,
) -> Result<(), Error> {
    let before = object.conditions();
    let conditions: Vec<Condition> = fact
        .map(|fact| condition(fact, before, None, now))
        .into_iter()
        .collect();
    let mut status = json!({"conditions": conditions});
    if let Some(scaled) = scaled {
        status["lastScaled"] = json!(scaled);
    }
    write(api, &object.name_any(), SCALE_MANAGER, &status).await?;
    Ok(())
}

/// Writes who runs a RabbitMQ, if its broker still is as it was read: so it is written once.
///
/// # Errors
/// When somebody changed it in between, or the API server does not take it.
pub async fn report_variant(
    api: &Api<CeleryBroker>,
    read: &CeleryBroker,
    variant: BrokerVariant,
) -> Result<(), Error> {
    let name = read.name_any();
    let patch = json!({
        "apiVersion": CeleryBroker::api_version(&()), "kind": CeleryBroker::kind(&()),
        "metadata": {"name": name, "resourceVersion": read.metadata.resource_version},
        "status": {"variant": variant},
    });
    let params = PatchParams::apply(VARIANT_MANAGER);
    let written = api
        .patch_status(&name, &params, &Patch::Apply(&patch))
        .await;
    written.map_err(|error| Error::of(writing::<CeleryBroker>(&name), error))?;
    Ok(())
}

fn writing<K: App>(name: &str) -> Deed {
    Deed {
        verb: "write the status of",
        kind: K::KIND,
        name: name.to_owned(),
    }
}

/// Whether the object was still there to be written.
async fn write<K: App>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    status: &Value,
) -> Result<bool, Error> {
    let patch = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "status": status,
    });
    let params = PatchParams::apply(manager).force();
    let written = api.patch_status(name, &params, &Patch::Apply(&patch)).await;
    match written {
        Ok(_) => Ok(true),
        // It is gone: nobody is left to tell.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(Error::of(writing::<K>(name), error)),
    }
}

/// An Event for each condition that is not what it was.
async fn tell<K: App>(recorder: &Recorder, object: &K, facts: &[Fact]) {
    let before = object.conditions();
    for fact in facts {
        let old = before
            .iter()
            .find(|condition| condition.type_ == fact.type_);
        let same = old.is_some_and(|old| old.status == fact.truth && old.reason == fact.reason);
        if !same && fact.truth != Truth::Unknown && fact.reason != NEW {
            publish(recorder, object, fact, loudness(fact, old)).await;
        }
    }
}

/// What of a status a reconcile writes.
pub fn own_part(status: Value) -> Map<String, Value> {
    let Value::Object(fields) = without_nulls(status) else {
        return Map::new();
    };
    let mut own: Map<String, Value> = fields
        .into_iter()
        .filter(|(name, _)| !LIVE_FIELDS.contains(&name.as_str()))
        .collect();
    if let Some(Value::Array(conditions)) = own.get_mut("conditions") {
        conditions.retain(|one| {
            let type_ = one["type"].as_str().unwrap_or_default();
            !LIVE_CONDITIONS.contains(&type_)
        });
    }
    own
}

/// Whether two statuses say the same. The API server keeps conditions in its own order when several write them.
fn same(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let split = |status: &Map<String, Value>| {
        let mut fields = status.clone();
        let conditions = fields.remove("conditions");
        let mut conditions: Vec<Value> = match conditions {
            Some(Value::Array(conditions)) => conditions,
            _ => Vec::new(),
        };
        conditions.sort_by_cached_key(|one| one["type"].as_str().map(str::to_owned));
        (fields, conditions)
    };
    split(one) == split(other)
}

/// Whether an Event is a warning. What has never been there yet is waited for, and nothing to worry about.
fn loudness(fact: &Fact, before: Option<&Condition>) -> EventType {
    // Of most conditions `True` is the good news; of a few it is the bad, and that pods are replaced is neither.
    let good = match fact.type_ {
        "ConfigLint" | "BrokerLint" => fact.truth == Truth::False,
        "Progressing" => true,
        _ => fact.truth == Truth::True,
    };
    let begins = fact.reason.ends_with("NotReady")
        && before.is_none_or(|before| before.status == Truth::False);
    if good || begins {
        EventType::Normal
    } else {
        EventType::Warning
    }
}

async fn publish<K: App>(recorder: &Recorder, object: &K, fact: &Fact, type_: EventType) {
    let mut note = format!("{}: {}", fact.type_, fact.message);
    let end = note.floor_char_boundary(NOTE_BYTES_MAX);
    note.truncate(end);
    let event = Event {
        type_,
        reason: fact.reason.clone(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    // What is told is also in the status; an Event that is lost is not worth a failed reconcile.
    if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(%error, "an Event was not taken");
    }
}

/// A condition keeps its time for as long as it is what it was.
fn condition(
    fact: &Fact,
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let old = before
        .iter()
        .find(|condition| condition.type_ == fact.type_);
    let since = old.filter(|old| old.status == fact.truth);
    // Kubernetes keeps whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: fact.type_.to_owned(),
        status: fact.truth,
        reason: fact.reason.clone(),
        message: fact.message.clone(),
        last_transition_time: since.map_or(Time(now), |old| old.last_transition_time.clone()),
        observed_generation: generation,
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                fields
                    .map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_or_is_wrong_is_warned_of() {
        let fact = |truth, reason| Fact::new("Ready", truth, reason, "");
        let was = |truth, reason| condition(&fact(truth, reason), &[], None, Timestamp::UNIX_EPOCH);
        let waits = fact(Truth::False, "WorkersNotReady");
        let is_normal = |fact: &Fact, before: Option<Condition>| {
            matches!(loudness(fact, before.as_ref()), EventType::Normal)
        };
        assert!(is_normal(&waits, None));
        assert!(is_normal(&waits, Some(was(Truth::False, NEW))));
        assert!(!is_normal(&waits, Some(was(Truth::True, "WorkersReady"))));
        assert!(!is_normal(&fact(Truth::False, "SpecInvalid"), None));
        assert!(is_normal(
            &fact(Truth::True, "WorkersReady"),
            Some(was(Truth::False, NEW))
        ));
        let lint = Fact::new("ConfigLint", Truth::True, "Findings", "");
        assert!(!is_normal(&lint, None));
        for (truth, reason) in [(Truth::True, "RollingOut"), (Truth::False, "Settled")] {
            assert!(is_normal(
                &Fact::new("Progressing", truth, reason, ""),
                None
            ));
        }
    }
}
