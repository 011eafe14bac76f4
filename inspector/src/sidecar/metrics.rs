//! What a sidecar counts, `celeriac_sidecar_*`.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ward::{Drain, Life, Ready, Ward};

/// Counters of one sidecar; its gauges are read from what is known at the moment.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<Command, Counter>,
    /// Looks at queues.
    pub looks: Counter,
    /// Uses of the broker that failed.
    pub broker_errors: Counter,
    /// Requests that waited because it was another sidecar's turn.
    pub turns_refused: Counter,
    /// Streams of the aggregator that were lost.
    pub streams_lost: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Command {
    command: &'static str,
}

impl Metrics {
    /// A request was sent to the worker.
    pub fn on_request(&self, command: &'static str) {
        self.requests.get_or_create(&Command { command }).inc();
    }

    /// All of it in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub(super) fn text(&self, now: Instant, ward: &Ward) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("celeriac_sidecar");
        registry.register(
            "control_requests",
            "Control requests to the worker.",
            self.requests.clone(),
        );
        let counters: [(&str, &str, &Counter<u64, AtomicU64>); 4] = [
            ("looks", "Looks at the worker's queues.", &self.looks),
            (
                "broker_errors",
                "Uses of the broker that failed.",
                &self.broker_errors,
            ),
            (
                "turns_refused",
                "Requests put off because it was another sidecar's turn.",
                &self.turns_refused,
            ),
            (
                "streams_lost",
                "Streams of the aggregator that were lost or refused.",
                &self.streams_lost,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let stalled = matches!(ward.life(now), Life::Stalled { .. });
        let no_queues = ward.emptied_at().is_some() && ward.drain() == Drain::None;
        for (name, help, value) in [
            (
                "followed",
                "Whether the aggregator tells of the worker (1), or it is asked (0).",
                ward.is_followed(now),
            ),
            (
                "stalled",
                "Whether the worker takes nothing from a queue with messages.",
                stalled,
            ),
            (
                "consumes_nothing",
                "Whether the worker consumes from no queue, and is not drained.",
                no_queues,
            ),
            (
                "ready",
                "Whether the worker is ready.",
                ward.ready(now) == Ready::Yes,
            ),
            (
                "draining",
                "Whether the worker is being drained, or is drained.",
                ward.drain() != Drain::None,
            ),
        ] {
            let gauge: Gauge<i64, AtomicI64> = Gauge::default();
            gauge.set(i64::from(value));
            registry.register(name, help, gauge);
        }
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}
