//! What an inspector counts, and the text `/metrics` shows. Handles are cheap to clone and lock nothing on the event path.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use celeriac_process::health::Vitals;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::collect::GapCause;
use crate::wire::rejection::Rejections;

/// Counters and gauges of one inspector, `celeriac_inspector_*`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Broker messages read.
    pub messages: Counter,
    /// Events read.
    pub events: Counter,
    /// Messages that a full buffer dropped, here or in the transport.
    pub dropped: Counter,
    /// Whether the event subscription lives.
    pub subscription_live: Gauge,
    /// Whether a stream to the aggregator is open.
    pub attached: Gauge,
    /// Whether the aggregator folds this inspector.
    pub active: Gauge,
    /// Bytes of batches not acknowledged.
    pub buffer_bytes: Gauge,
    /// Worker deliveries caused by control requests.
    pub deliveries: Counter,
    /// Replies that came after their deadline, twice, or to somebody else's ticket.
    pub stray_replies: Counter,
    rejected: Family<Reason, Counter>,
    gaps: Family<Cause, Counter>,
    requests: Family<Command, Counter>,
    snapshots: Counter,
    overlooked: Counter,
    batches: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Command {
    command: &'static str,
}

impl Metrics {
    /// Brings the counts of what could not be read up to date.
    pub fn on_rejections(&self, rejections: &Rejections) {
        for rejection in rejections.iter() {
            let counter = self.rejected.get_or_create(&Reason {
                reason: rejection.reason,
            });
            counter.inner().store(rejection.count, Ordering::Relaxed);
        }
    }

    /// Brings the count of sightings of workers that found no room up to date.
    pub fn on_overlooked_workers(&self, sightings: u64) {
        self.overlooked.inner().store(sightings, Ordering::Relaxed);
    }

    /// A gap was found.
    pub fn on_gap(&self, cause: GapCause) {
        let cause = match cause {
            GapCause::Reconnect => "reconnect",
            GapCause::Overflow => "overflow",
        };
        self.gaps.get_or_create(&Cause { cause }).inc();
    }

    /// A control request went out and reached so many workers.
    pub fn on_request(&self, command: &'static str, deliveries: u64) {
        self.requests.get_or_create(&Command { command }).inc();
        self.deliveries.inc_by(deliveries);
    }

    /// A worker's answers were put together.
    pub fn on_snapshot(&self) {
        self.snapshots.inc();
    }

    /// A batch was made.
    pub fn on_batch(&self) {
        self.batches.inc();
    }

    fn register(&self, registry: &mut Registry) {
        let counters: [(&str, &str, &Counter<u64, AtomicU64>); 8] = [
            ("messages", "Broker messages read.", &self.messages),
            ("events", "Events read.", &self.events),
            (
                "dropped_messages",
                "Messages dropped by a full buffer.",
                &self.dropped,
            ),
            (
                "deliveries",
                "Worker deliveries caused by control requests.",
                &self.deliveries,
            ),
            (
                "stray_replies",
                "Replies that were late, double or not for this inspector.",
                &self.stray_replies,
            ),
            ("snapshots", "Snapshots of workers.", &self.snapshots),
            (
                "overlooked_workers",
                "Sightings of workers beyond the number that is kept.",
                &self.overlooked,
            ),
            ("batches", "Batches made for the aggregator.", &self.batches),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges: [(&str, &str, &Gauge<i64, AtomicI64>); 4] = [
            (
                "subscription_live",
                "Whether the event subscription lives (1) or not (0).",
                &self.subscription_live,
            ),
            (
                "attached",
                "Whether a stream to the aggregator is open.",
                &self.attached,
            ),
            (
                "active",
                "Whether the aggregator folds this inspector.",
                &self.active,
            ),
            (
                "buffer_bytes",
                "Bytes of batches not acknowledged.",
                &self.buffer_bytes,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let rejected = "Messages and events that could not be read, by reason.";
        registry.register("rejected", rejected, self.rejected.clone());
        registry.register("gaps", "Gaps in the events, by cause.", self.gaps.clone());
        registry.register(
            "control_requests",
            "Control requests published.",
            self.requests.clone(),
        );
    }
}

impl Vitals for Metrics {
    /// Ready is: attached, and reading events unless it stands by.
    fn unready(&self) -> Option<&'static str> {
        if self.attached.get() == 0 {
            Some("not attached to an aggregator")
        } else if self.active.get() == 1 && self.subscription_live.get() == 0 {
            Some("not subscribed to the broker's events")
        } else {
            None
        }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("celeriac_inspector");
        self.register(&mut registry);
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_every_metric_with_its_unit() {
        let metrics = Metrics::default();
        metrics.events.inc_by(3);
        metrics.on_gap(GapCause::Overflow);
        metrics.on_request("ping", 5);
        let mut rejections = Rejections::default();
        rejections.add("body is not JSON", 2, None);
        metrics.on_rejections(&rejections);
        metrics.on_rejections(&rejections);
        let text = metrics.text().expect("values are written as text");
        for line in [
            "celeriac_inspector_events_total 3",
            "celeriac_inspector_deliveries_total 5",
            "celeriac_inspector_gaps_total{cause=\"overflow\"} 1",
            "celeriac_inspector_control_requests_total{command=\"ping\"} 1",
            "celeriac_inspector_rejected_total{reason=\"body is not JSON\"} 2",
            "celeriac_inspector_subscription_live 0",
            "celeriac_inspector_buffer_bytes 0",
        ] {
            assert!(
                text.lines().any(|one| one == line),
                "{line} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn ready_is_attached_and_reading_or_standing_by() {
        let metrics = Metrics::default();
        assert_eq!(metrics.unready(), Some("not attached to an aggregator"));
        metrics.attached.set(1);
        assert_eq!(metrics.unready(), None, "it stands by");
        metrics.active.set(1);
        assert_eq!(
            metrics.unready(),
            Some("not subscribed to the broker's events")
        );
        metrics.subscription_live.set(1);
        assert_eq!(metrics.unready(), None);
    }
}
