//! What the operator counts, and the text `/metrics` shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use celeriac_process::health::Vitals;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::Error;

/// Counters and gauges, `celeriac_operator_*`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    reconciles: Family<Kind, Counter>,
    failures: Family<Failure, Counter>,
    live_writes: Family<Kind, Counter>,
    aggregator: Gauge,
    leader: Gauge,
    /// Whether the API server was reached once.
    reached: Arc<AtomicBool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// A reconcile ended.
    pub fn on_reconcile(&self, kind: &'static str, error: Option<&Error>) {
        self.reconciles.get_or_create(&Kind { kind }).inc();
        if let Some(error) = error {
            let reason = error.reason();
            self.failures.get_or_create(&Failure { kind, reason }).inc();
        }
    }

    /// What is happening now was written to an object.
    pub fn on_live_write(&self, kind: &'static str) {
        self.live_writes.get_or_create(&Kind { kind }).inc();
    }

    /// The aggregator was asked, and answered or did not.
    pub fn on_asked(&self, answered: bool) {
        self.aggregator.set(i64::from(answered));
    }

    /// This operator acts, or does not.
    pub fn on_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The API server was reached.
    pub fn on_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }
}

impl Vitals for Metrics {
    /// Who waits for the Lease is ready too.
    fn unready(&self) -> Option<&'static str> {
        let reached = self.reached.load(Ordering::Relaxed);
        (!reached).then_some("the API server was not reached yet")
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("celeriac_operator");
        registry.register(
            "reconciles",
            "Reconciles that ended",
            self.reconciles.clone(),
        );
        registry.register(
            "reconcile_failures",
            "Reconciles that failed, and why",
            self.failures.clone(),
        );
        registry.register(
            "live_status_writes",
            "Writes of what is happening now",
            self.live_writes.clone(),
        );
        registry.register(
            "aggregator_answers",
            "1 while the aggregator answers the operator",
            self.aggregator.clone(),
        );
        registry.register(
            "leader",
            "1 while this operator holds the Lease",
            self.leader.clone(),
        );
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}
