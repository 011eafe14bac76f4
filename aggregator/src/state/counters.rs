//! Counters behind `/metrics`: distinct events by worker, task name and queue, as Flower and celery-exporter count them.

use ahash::RandomState;
use hashbrown::HashSet;

use super::ids::{Micros, Symbol};
use super::input::TaskEventKind;
use super::interner::Interner;
use super::limits::{
    CUSTOM_TYPES_MAX, EVENT_SERIES_MAX, EXCEPTION_CLASSES_MAX, OTHER, SENDERS_MAX,
};
use super::store::Map;

/// Upper bounds of the runtime histogram in seconds, without +Inf: the defaults of Python's `prometheus_client`, which
/// Flower uses.
pub const RUNTIME_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Kinds of events that are no custom ones.
const KINDS: usize = TaskEventKind::Custom as usize;

/// Event counters of one app, since this process began.
#[derive(Debug, Default)]
pub struct Counters {
    by_speaker: Map<Symbol, Map<Symbol, Queues>>,
    series: usize,
    senders: Map<Symbol, Micros>,
    custom_types: HashSet<Symbol, RandomState>,
    overflow: u64,
}

/// The series of one worker (or sender) and task name by queue, in the order in which they came: one or two.
type Queues = Vec<(Symbol, Series)>;

/// The counters of one worker (or sender), task name and queue. The gauges of prefetching are of all queues together and
/// kept in one of the series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Distinct events by kind, in the order of [`TaskEventKind`], without custom ones.
    pub events: [u64; KINDS],
    /// Distinct custom events by type.
    pub custom: Vec<(Symbol, u64)>,
    /// `task-failed` events by class of exception.
    pub failures: Vec<(Symbol, u64)>,
    /// Runtimes that events told.
    pub runtime: Option<Box<Histogram>>,
    /// Seconds between receipt and start of the last task started, 0 after one succeeded or failed. `None` before the
    /// first; ETA tasks are left out.
    pub prefetch_seconds: Option<f64>,
    /// Tasks received and not started, by counting events; ETA tasks are left out.
    pub prefetched: u64,
}

/// A histogram over [`RUNTIME_BUCKETS`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Observations by bucket, each in the first whose bound it does not exceed; the last is +Inf.
    pub buckets: [u64; RUNTIME_BUCKETS.len() + 1],
    /// Sum of the observations, seconds.
    pub sum: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        let bucket = RUNTIME_BUCKETS.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(RUNTIME_BUCKETS.len())] += 1;
        self.sum += seconds;
    }

    /// Adds the observations of another.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += count;
        }
        self.sum += other.sum;
    }

    /// Observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// An event, as it is counted.
pub(super) struct Happening<'a> {
    pub(super) kind: TaskEventKind,
    pub(super) event_type: &'a Symbol,
    /// The worker; of `task-sent` the sender.
    pub(super) speaker: &'a Symbol,
    /// Whether the speaker is a worker we have.
    pub(super) is_known_worker: bool,
    /// Empty when not known, as in Flower.
    pub(super) name: &'a Symbol,
    /// Empty when not known.
    pub(super) queue: &'a Symbol,
    pub(super) runtime: Option<f64>,
    /// Seconds between receipt and start, where both are known and it has no ETA.
    pub(super) prefetch_seconds: Option<f64>,
    /// It waits in the worker for its start from now on.
    pub(super) is_waiting: bool,
    pub(super) has_eta: bool,
    pub(super) exception_class: Option<&'a Symbol>,
    pub(super) now: Micros,
}

impl Counters {
    /// All series: worker or sender, task name, queue, counters; in no order. What an event did not tell is empty.
    pub fn series(&self) -> impl Iterator<Item = (&Symbol, &Symbol, &Symbol, &Series)> {
        self.by_speaker.iter().flat_map(|(speaker, names)| {
            names.iter().flat_map(move |(name, queues)| {
                queues
                    .iter()
                    .map(move |(queue, series)| (speaker, name, queue, series))
            })
        })
    }

    /// Events that were counted under `other` because there was no room for a series of their own.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    pub(super) fn count(&mut self, happening: &Happening<'_>, names: &mut Interner) {
        let custom = (happening.kind == TaskEventKind::Custom)
            .then(|| self.custom_type(happening.event_type, names));
        let (queues, place) = self.series_of(happening, names);
        queues[0].1.measure_prefetch(happening);
        let series = &mut queues[place].1;
        match custom {
            Some(event_type) => add(&mut series.custom, &event_type, 1),
            None => series.events[happening.kind as usize] += 1,
        }
        if let Some(class) = happening.exception_class {
            let room = series.failures.len() < EXCEPTION_CLASSES_MAX
                || series.failures.iter().any(|(known, _)| known == class);
            let class = if room {
                class.clone()
            } else {
                names.intern_text(OTHER)
            };
            add(&mut series.failures, &class, 1);
        }
        series.measure_runtime(happening);
    }

    fn custom_type(&mut self, event_type: &Symbol, names: &mut Interner) -> Symbol {
        if let Some(known) = self.custom_types.get(event_type) {
            return known.clone();
        }
        if self.custom_types.len() >= CUSTOM_TYPES_MAX {
            return names.intern_text(OTHER);
        }
        let event_type = names.intern(event_type.clone());
        self.custom_types.insert(event_type.clone());
        event_type
    }

    /// The series of its worker and name, and the place of the one of its queue among them.
    fn series_of(
        &mut self,
        happening: &Happening<'_>,
        names: &mut Interner,
    ) -> (&mut Queues, usize) {
        let own = match happening.kind {
            TaskEventKind::Sent => self.sender(happening.speaker, happening.now),
            _ => happening.is_known_worker,
        };
        let full = self.series >= EVENT_SERIES_MAX;
        let other = (full || !own).then(|| names.intern_text(OTHER));
        let other = other.as_ref().unwrap_or(happening.speaker);
        let speaker = if own { happening.speaker } else { other };
        let key = (speaker, happening.name, happening.queue);
        let room = !full || self.has(key);
        let (speaker, name, queue) = if room { key } else { (other, other, other) };
        self.overflow += u64::from(!own || !room);
        let queues = self.by_speaker.entry_ref(speaker).or_default();
        let queues = queues.entry_ref(name).or_default();
        let place = queues.iter().position(|(known, _)| known == queue);
        let place = place.unwrap_or_else(|| {
            self.series += 1;
            queues.push((queue.clone(), Series::default()));
            queues.len() - 1
        });
        (queues, place)
    }

    fn has(&self, (speaker, name, queue): (&Symbol, &Symbol, &Symbol)) -> bool {
        let queues = self
            .by_speaker
            .get(speaker)
            .and_then(|names| names.get(name));
        queues.is_some_and(|queues| queues.iter().any(|(known, _)| known == queue))
    }

    /// Whether the sender has series of its own.
    fn sender(&mut self, name: &Symbol, now: Micros) -> bool {
        if let Some(last) = self.senders.get_mut(name) {
            *last = now;
            return true;
        }
        let room = self.senders.len() < SENDERS_MAX;
        if room {
            self.senders.insert(name.clone(), now);
        }
        room
    }

    /// A worker has left, and its series with it.
    pub(super) fn forget_worker(&mut self, name: &str) {
        if let Some(gone) = self.by_speaker.remove(name) {
            self.series -= gone.values().map(Vec::len).sum::<usize>();
        }
    }

    /// Lets senders go that sent nothing since `before`.
    pub(super) fn forget_senders(&mut self, before: Micros) {
        let gone: Vec<Symbol> = self
            .senders
            .extract_if(|_, last| *last < before)
            .map(|(name, _)| name)
            .collect();
        for name in gone {
            self.forget_worker(&name);
        }
    }

    /// A worker begins a new life with empty hands.
    pub(super) fn nothing_prefetched(&mut self, name: &str) {
        let queues = self
            .by_speaker
            .get_mut(name)
            .into_iter()
            .flat_map(Map::values_mut);
        for (_, series) in queues.flatten() {
            series.prefetched = 0;
        }
    }
}

fn add(counts: &mut Vec<(Symbol, u64)>, name: &Symbol, by: u64) {
    match counts.iter_mut().find(|(known, _)| known == name) {
        Some((_, count)) => *count += by,
        None => counts.push((name.clone(), by)),
    }
}

impl Series {
    /// Adds the counters of another, for those who do not tell the two apart.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.events.iter_mut().zip(other.events) {
            *sum += count;
        }
        for (name, count) in &other.custom {
            add(&mut self.custom, name, *count);
        }
        for (class, count) in &other.failures {
            add(&mut self.failures, class, *count);
        }
        if let Some(runtime) = &other.runtime {
            self.runtime.get_or_insert_default().add(runtime);
        }
        self.prefetch_seconds = other.prefetch_seconds.or(self.prefetch_seconds);
        self.prefetched += other.prefetched;
    }

    fn measure_runtime(&mut self, happening: &Happening<'_>) {
        let told = happening.runtime;
        if let Some(runtime) = told.filter(|runtime| runtime.is_finite() && *runtime > 0.0) {
            self.runtime.get_or_insert_default().observe(runtime);
        }
    }

    /// As `flower.events.EventsState.event`; a receipt that comes after its start does not count as waiting.
    fn measure_prefetch(&mut self, happening: &Happening<'_>) {
        match happening.kind {
            TaskEventKind::Received if happening.is_waiting => self.prefetched += 1,
            TaskEventKind::Started if !happening.has_eta => {
                self.prefetched = self.prefetched.saturating_sub(1);
                self.prefetch_seconds = happening.prefetch_seconds.or(self.prefetch_seconds);
            }
            TaskEventKind::Succeeded | TaskEventKind::Failed
                if happening.prefetch_seconds.is_some() =>
            {
                self.prefetch_seconds = Some(0.0);
            }
            _ => {}
        }
    }
}

/// The class of an exception by its `repr`, as celery-exporter names it; where Celery hides it, by the traceback.
pub(super) fn exception_class<'a>(
    exception: Option<&'a str>,
    traceback: Option<&'a str>,
) -> &'a str {
    let hidden = exception.is_none_or(|text| text.starts_with("ExceptionWithTraceback("));
    let last_line = || {
        traceback?
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
    };
    let text = if hidden {
        last_line().or(exception)
    } else {
        exception
    };
    let class = text
        .and_then(|text| text.split(['(', ':']).next())
        .unwrap_or_default();
    let class = class.rsplit('.').next().unwrap_or_default().trim();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if class.is_empty() || !class.chars().all(is_name) {
        "UnknownException"
    } else {
        class
    }
}
