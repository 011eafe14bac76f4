//! What each kind of object shows of what is happening now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use serde_json::{Map, Value, json};

use super::Object;
use crate::controllers::App;
use crate::crd::status::{Live, Truth};
use crate::crd::{BrokerType, Celery, CeleryBroker, CeleryWorker, Condition};
use crate::figures::lint::{BROKER_LINT, lint};
use crate::figures::observed::{OBSERVED, REACHABLE, reachable};
use crate::figures::picture;
use crate::figures::{Figures, Known, Said, Shown, observe, of_app, of_pool};
use crate::report::Fact;

/// What is known at one moment.
pub(super) struct View {
    /// By the aggregator.
    pub(super) known: Known,
    /// Now.
    pub(super) now: Timestamp,
    /// The apps that the operator looks after, as `namespace/name`, and whether they have an inspector.
    pub(super) inspected: HashMap<String, bool>,
    /// Those of them whose RabbitMQ the operator runs.
    patient: HashSet<String>,
}

/// What is found: the numbers, if they are known, and the conditions.
pub(super) type Found = (Option<Figures>, Vec<Fact>);

impl View {
    /// What is known now of these apps.
    pub(super) fn new(known: Known, now: Timestamp, apps: &[Arc<Celery>]) -> Self {
        let key = |celery: &Celery| {
            let namespace = celery.namespace().unwrap_or_default();
            format!("{namespace}/{}", celery.name_any())
        };
        let inspected = apps.iter();
        let inspected = inspected.map(|celery| (key(celery), celery.spec.inspector.enabled));
        let patient = apps.iter();
        let patient = patient.filter(|celery| celery.spec.broker.type_ == BrokerType::Rabbitmq);
        Self {
            known,
            now,
            inspected: inspected.collect(),
            patient: patient.map(|celery| key(celery)).collect(),
        }
    }

    /// An app by what it is called, and what is observed of it.
    fn observed(&self, namespace: &str, app: &str) -> Option<(Fact, Option<&picture::App>)> {
        let key = format!("{namespace}/{app}");
        let Some(inspected) = self.inspected.get(&key) else {
            let message = format!("there is no Celery {app} in this namespace");
            let fact = Fact::new(OBSERVED, Truth::False, "NoApp", message);
            return Some((fact, None));
        };
        observe(&self.known, self.now, &key, *inspected)
    }
}

/// All objects of some stores.
pub(super) fn all<K>(stores: &[Store<K>]) -> Vec<Arc<K>>
where
    K: App,
{
    stores.iter().flat_map(Store::state).collect()
}

/// An object that shows what is happening now.
pub(super) trait Shows: App {
    /// What its status says.
    fn said(&self) -> Said;

    /// What is to be said; `None` when it is too early.
    fn found(&self, view: &View) -> Option<Found>;

    /// Numbers as fields of its status.
    fn fields(shown: &Shown) -> Map<String, Value>;

    /// It as one of several kinds.
    fn wrap(this: Arc<Self>) -> Object;
}

impl Shows for Celery {
    fn said(&self) -> Said {
        let status = self.status.clone().unwrap_or_default();
        Said {
            shown: Shown::read(&status.live, status.failed),
            facts: facts(&status.conditions, &[OBSERVED]),
        }
    }

    fn found(&self, view: &View) -> Option<Found> {
        let namespace = self.namespace().unwrap_or_default();
        let (observed, app) = view.observed(&namespace, &self.name_any())?;
        Some((app.map(of_app), vec![observed]))
    }

    fn fields(shown: &Shown) -> Map<String, Value> {
        let (live, failed) = shown.write();
        let mut fields = live_fields(&live);
        if let Some(failed) = failed {
            fields.insert("failed".to_owned(), json!(failed));
        }
        fields
    }

    fn wrap(this: Arc<Self>) -> Object {
        Object::App(this)
    }
}

impl Shows for CeleryWorker {
    fn said(&self) -> Said {
        let status = self.status.clone().unwrap_or_default();
        Said {
            shown: Shown::read(&status.live, None),
            facts: facts(&status.conditions, &[OBSERVED, BROKER_LINT]),
        }
    }

    fn found(&self, view: &View) -> Option<Found> {
        let options = &self.spec.options;
        let Some(app) = self.app() else {
            let message = "spec.celeryRef names no Celery: queues and tasks are not known";
            let fact = Fact::new(OBSERVED, Truth::False, "NoApp", message);
            let lint = lint(None, &self.name_any(), options, false);
            return Some((None, vec![fact, lint]));
        };
        let namespace = self.namespace().unwrap_or_default();
        let patient = view.patient.contains(&format!("{namespace}/{app}"));
        let (observed, app) = view.observed(&namespace, &app)?;
        let name = self.name_any();
        let figures = app.map(|app| of_pool(app, &name, &options.target_queues));
        Some((figures, vec![observed, lint(app, &name, options, patient)]))
    }

    fn fields(shown: &Shown) -> Map<String, Value> {
        live_fields(&shown.write().0)
    }

    fn wrap(this: Arc<Self>) -> Object {
        Object::Worker(this)
    }
}

impl Shows for CeleryBroker {
    fn said(&self) -> Said {
        let status = self.status.clone().unwrap_or_default();
        Said {
            shown: Shown {
                versions: status.version.into_iter().collect(),
                ..Shown::default()
            },
            facts: facts(&status.conditions, &[REACHABLE]),
        }
    }

    fn found(&self, view: &View) -> Option<Found> {
        let namespace = self.namespace().unwrap_or_default();
        let Some(app) = self.app() else {
            let message = "it belongs to no Celery, so nobody looks";
            let fact = Fact::new(REACHABLE, Truth::Unknown, "NoApp", message);
            return Some((None, vec![fact]));
        };
        let (observed, app) = view.observed(&namespace, &app)?;
        let broker = app.and_then(|app| app.broker.as_ref());
        let version = broker.and_then(|broker| broker.version.clone());
        let figures = version.map(|version| Figures {
            versions: vec![version],
            ..Figures::default()
        });
        Some((figures, vec![reachable(&observed, broker)]))
    }

    fn fields(shown: &Shown) -> Map<String, Value> {
        let version = shown.versions.first();
        let version = version.map(|version| ("version".to_owned(), json!(version)));
        version.into_iter().collect()
    }

    fn wrap(this: Arc<Self>) -> Object {
        Object::Broker(this)
    }
}

fn live_fields(live: &Live) -> Map<String, Value> {
    match json!(live) {
        Value::Object(fields) => fields,
        other => unreachable!("a struct became {other}"),
    }
}

/// Conditions as they were written, in the order of `types`.
fn facts(conditions: &[Condition], types: &[&'static str]) -> Vec<Fact> {
    let fact = |type_: &&'static str| {
        let found = conditions.iter().find(|one| one.type_ == **type_)?;
        let message = found.message.clone();
        Some(Fact::new(type_, found.status, &found.reason, message))
    };
    types.iter().filter_map(fact).collect()
}
