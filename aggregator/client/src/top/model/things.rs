//! Things of one kind by app and name, each with how fast it counts.

use std::collections::{BTreeMap, VecDeque};

use celeriac_client::v1;
use celeriac_client::v1::watch_item::Item;
use jiff::Timestamp;

/// Seconds over which a rate is measured: short enough to follow, long enough to be read.
const WINDOW_SECONDS: usize = 10;
/// Counters of one thing: starts, successes, failures, retries.
pub(crate) const COUNTERS: usize = 4;

/// What can be kept by name.
pub(crate) trait Named {
    /// App and name.
    fn key(&self) -> (&str, &str);
}

impl Named for v1::Worker {
    fn key(&self) -> (&str, &str) {
        (&self.app, &self.name)
    }
}

impl Named for v1::Queue {
    fn key(&self) -> (&str, &str) {
        (&self.app, &self.name)
    }
}

impl Named for v1::TaskName {
    fn key(&self) -> (&str, &str) {
        (&self.app, &self.name)
    }
}

impl Named for v1::Task {
    fn key(&self) -> (&str, &str) {
        (&self.app, &self.id)
    }
}

/// A thing and its counters over the last seconds.
#[derive(Debug)]
pub(crate) struct Tracked<T> {
    pub(crate) item: T,
    samples: VecDeque<(Timestamp, [u64; COUNTERS])>,
}

impl<T> Tracked<T> {
    pub(crate) fn new(item: T) -> Self {
        Self {
            item,
            samples: VecDeque::new(),
        }
    }

    /// Notes the counters now. One that went back began anew, and so does the measurement.
    pub(crate) fn sample(&mut self, now: Timestamp, counts: [u64; COUNTERS]) {
        if let Some((last, before)) = self.samples.back() {
            if *last >= now {
                return;
            }
            if counts.iter().zip(before).any(|(now, before)| now < before) {
                self.samples.clear();
            }
        }
        self.samples.push_back((now, counts));
        while self.samples.len() > WINDOW_SECONDS + 1 {
            self.samples.pop_front();
        }
    }

    /// A counter's growth per second over the window; `None` before there are two measurements.
    pub(crate) fn rate(&self, counter: usize) -> Option<f64> {
        let ((first, from), (last, to)) = (self.samples.front()?, self.samples.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        (seconds > 0.0).then(|| grown(from[counter], to[counter]) / seconds)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown with three digits; counters lose precision beyond 2^53"
)]
pub(crate) fn grown(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64
}

/// Things by app and name.
#[derive(Debug)]
pub(crate) struct Things<T>(BTreeMap<(String, String), Tracked<T>>);

impl<T> Default for Things<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Named> Things<T> {
    pub(crate) fn set(&mut self, item: T) {
        let key = owned(&item);
        match self.0.get_mut(&key) {
            Some(known) => known.item = item,
            None => {
                self.0.insert(key, Tracked::new(item));
            }
        }
    }

    pub(crate) fn remove(&mut self, app: &str, name: &str) {
        self.0.remove(&(app.to_owned(), name.to_owned()));
    }

    /// These and no others. What stays keeps its measurements.
    pub(super) fn replace(&mut self, items: Vec<T>) {
        let mut before = std::mem::take(&mut self.0);
        for item in items {
            let key = owned(&item);
            let samples = before.remove(&key).map(|known| known.samples);
            let samples = samples.unwrap_or_default();
            self.0.insert(key, Tracked { item, samples });
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tracked<T>> {
        self.0.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tracked<T>> {
        self.0.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn owned<T: Named>(item: &T) -> (String, String) {
    let (app, name) = item.key();
    (app.to_owned(), name.to_owned())
}

/// A snapshot while it comes in: what is shown stays until it is whole.
#[derive(Debug, Default)]
pub(super) struct Staging {
    pub(super) apps: BTreeMap<String, v1::App>,
    pub(super) workers: Vec<v1::Worker>,
    pub(super) queues: Vec<v1::Queue>,
    pub(super) names: Vec<v1::TaskName>,
}

impl Staging {
    pub(super) fn add(&mut self, item: Item) {
        match item {
            Item::App(app) => {
                self.apps.insert(app.name.clone(), app);
            }
            Item::Worker(worker) => self.workers.push(worker),
            Item::Queue(queue) => self.queues.push(queue),
            Item::TaskName(name) => self.names.push(name),
            // The watch leaves tasks out of its snapshot.
            Item::Task(_) => {}
        }
    }
}
