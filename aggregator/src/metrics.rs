//! `/metrics`: written from the state at each scrape, so that nothing is counted twice and the event path counts nothing
//! for it. Flower's and celery-exporter's names carry their own labels; `app` is added only when there are several apps.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::engine::board::{AppBoard, Board, BoardReader};

mod exporter;
mod flower;
mod own;

/// The metrics of one aggregator.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Metrics {
    /// Metrics of what is on the board.
    pub fn new(board: BoardReader) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { board }));
        Self {
            registry: Arc::new(registry),
        }
    }

    /// OpenMetrics text.
    ///
    /// # Errors
    /// None in practice: writing to a string cannot fail, and label names are our own.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

struct Scrape {
    board: BoardReader,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let board = self.board.read();
        let mut page = Page {
            encoder,
            several: board.apps.len() > 1,
        };
        flower::write(&mut page, &board)?;
        exporter::write(&mut page, &board)?;
        own::write(&mut page, &board)
    }
}

/// What is being written.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    /// Whether samples must say which app they are of.
    several: bool,
}

/// One value of a family.
enum Value<'a> {
    Counter(u64),
    Gauge(f64),
    Histogram(&'a crate::state::counters::Histogram),
}

/// A family's name, help and kind; counters get their `_total` from the encoder.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

impl Page<'_> {
    /// Writes a family: `samples` calls back with app, labels and value.
    fn family<'v>(
        &mut self,
        family: &Family,
        samples: impl Iterator<Item = (&'v str, Vec<(&'static str, &'v str)>, Value<'v>)>,
    ) -> fmt::Result {
        let mut samples = samples.peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let several = self.several;
        let mut encoder =
            self.encoder
                .encode_descriptor(family.name, family.help, None, family.kind)?;
        for (app, mut labels, value) in samples {
            if several {
                labels.push(("app", app));
            }
            if labels.is_empty() {
                value.write(&mut encoder)?;
            } else {
                value.write(&mut encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value<'_> {
    fn write(&self, sample: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(count) => sample.encode_counter::<NoLabelSet, u64, u64>(count, None),
            Self::Gauge(value) => sample.encode_gauge(value),
            Self::Histogram(histogram) => {
                let buckets = bounds().zip(histogram.buckets).collect::<Vec<_>>();
                let count = histogram.count();
                sample.encode_histogram::<NoLabelSet>(histogram.sum, count, &buckets, None)
            }
        }
    }
}

fn bounds() -> impl Iterator<Item = f64> {
    crate::state::counters::RUNTIME_BUCKETS
        .into_iter()
        .chain([f64::INFINITY])
}

/// All apps with their names.
fn apps(board: &Board) -> impl Iterator<Item = (&str, &AppBoard)> + Clone {
    board.apps.iter().map(|(name, app)| (name.as_str(), app))
}

/// A count as a gauge. Gauges are floats in the format; no count here comes near 2^53.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn gauge(count: u64) -> Value<'static> {
    Value::Gauge(count as f64)
}
