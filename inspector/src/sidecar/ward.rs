//! What is known of the one worker, and what its probes say of it. Pure: it is told what happened, and when.
//!
//! A probe that fails ends a container, so nothing is concluded from what is not known, nor from the broker's or our own
//! troubles: each of those has a [`Alive`] of its own, and only a worker that is seen to idle beside its own full queue is
//! [`Life::Stalled`] (celery#10205 and its kin: after a reconnect it answers, and takes nothing).

use std::time::{Duration, Instant};

use crate::collect::look::Answer;
use crate::collect::question::Question;
use crate::uplink::worker::Told;
use crate::wire::pidbox::{ConsumedQueue, Stats};

#[cfg(test)]
mod tests;
mod verdict;

pub use verdict::{Alive, Life, Ready};

/// For how long what was told of a worker counts as known: the inspector looks at each once a minute, plus the time that a
/// full budget may delay it.
const FRESH: Duration = Duration::from_mins(3);

/// The same for a worker that is silent while it runs a task, or may be one: five heartbeats.
const FRESH_SOLO: Duration = Duration::from_secs(10);

/// A stream that said nothing for so long is absent: its heartbeat comes every 15 s.
const STREAM_SILENCE: Duration = Duration::from_secs(45);

/// A worker of which the stream says nothing for so long is asked directly: without heartbeats it is looked at once a minute.
const WORKER_SILENCE: Duration = Duration::from_secs(90);

/// The same for one that is waited for.
const WORKER_SILENCE_FIRST: Duration = Duration::from_secs(10);

/// A worker whose heartbeats come for so long and whose queues nobody could ask about consumes, as far as can be known.
const HEARTBEATS_ARE_ENOUGH: Duration = Duration::from_secs(15);

/// The same for one that was asked and tells nothing at all.
const NOTHING_IS_TOLD: Duration = Duration::from_mins(2);

/// Time between two looks at its queues at most, and at least.
const LOOK_MAX: Duration = Duration::from_mins(2);
const LOOK_MIN: Duration = Duration::from_millis(500);

/// What is decided by settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// For how long a worker may take nothing from a queue with messages.
    pub stalled_after: Duration,
    /// The broker has queues whose messages an idle consumer rightly leaves: streams, and those with a single active
    /// consumer. Which they are is asked of the worker itself.
    pub queues_differ: bool,
}

#[derive(Debug, Clone, Copy)]
struct Fact<T> {
    value: T,
    at: Instant,
}

/// A queue that it consumes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Queue {
    name: String,
    /// Whether a consumer that has nothing to do gets what waits in it; `None` while that is not known.
    fair: Option<bool>,
}

/// What waits in its queues, as of looks that followed each other.
#[derive(Debug, Clone)]
struct Waiting {
    since: Instant,
    queue: String,
    ready: u64,
}

/// A drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drain {
    /// None.
    #[default]
    None,
    /// Intake is stopped, or being stopped.
    Going,
    /// It is over, and intake is still stopped.
    Over,
}

/// What is known of a worker.
#[derive(Debug)]
pub struct Ward {
    rules: Rules,
    started: Instant,
    /// Lives of its process that were told apart.
    lives: u64,
    told_life: Option<u64>,
    pid: Option<u64>,
    began: Option<Instant>,
    solo: Option<bool>,
    processed: Option<Fact<u64>>,
    active: Option<Fact<u64>>,
    reserved: Option<Fact<u64>>,
    scheduled: Option<Fact<u64>>,
    queues: Option<Fact<Vec<Queue>>>,
    consumed: bool,
    /// Since when it holds nothing and has started nothing.
    idle_since: Option<Instant>,
    waiting: Option<Waiting>,
    /// The last look at the broker: when, and why it failed.
    look: Option<Fact<Result<(), String>>>,
    stream: Option<Instant>,
    heard: Option<Instant>,
    heartbeats_since: Option<Instant>,
    unanswered: u32,
    drain: Drain,
}

impl Ward {
    /// Nothing is known yet.
    pub fn new(now: Instant, rules: Rules) -> Self {
        Self {
            rules,
            started: now,
            lives: 0,
            told_life: None,
            pid: None,
            began: None,
            solo: None,
            processed: None,
            active: None,
            reserved: None,
            scheduled: None,
            queues: None,
            consumed: false,
            idle_since: None,
            waiting: None,
            look: None,
            stream: None,
            heard: None,
            heartbeats_since: None,
            unanswered: 0,
            drain: Drain::None,
        }
    }

    /// The stream said something.
    pub fn on_stream(&mut self, now: Instant) {
        self.stream = Some(now);
    }

    /// The stream is gone.
    pub fn on_stream_lost(&mut self) {
        self.stream = None;
    }

    /// The aggregator told of the worker.
    pub fn on_told(&mut self, now: Instant, told: &Told) {
        self.on_stream(now);
        if let (Some(old), Some(new)) = (self.told_life, told.life)
            && old != new
        {
            self.on_new_life();
        }
        self.told_life = told.life.or(self.told_life);
        let started = self.started;
        let before = |age: Duration| now.checked_sub(age).unwrap_or(started);
        let mut news = false;
        if let Some(at) = told.heartbeat_age.map(before) {
            self.heartbeats_since.get_or_insert(at);
            self.hear(at);
            news |= put(&mut self.active, told.active, at);
            news |= put(&mut self.processed, told.processed, at);
        }
        // Answers of the life before are told until there are new ones.
        let inspected = told
            .inspected
            .as_ref()
            .filter(|inspected| told.life_age.is_none_or(|age| inspected.age <= age));
        if let Some(inspected) = inspected {
            let at = before(inspected.age);
            self.hear(at);
            if let Some(pool) = &inspected.pool {
                self.solo = Some(pool == "solo");
            }
            news |= put(&mut self.active, inspected.active, at);
            news |= put(&mut self.reserved, inspected.reserved, at);
            news |= put(&mut self.scheduled, inspected.scheduled, at);
            if let Some(names) = &inspected.queues {
                let queues = names.iter().map(|name| Queue {
                    fair: self.is_fair(name),
                    name: name.clone(),
                });
                let queues = queues.collect();
                self.put_queues(queues, at);
            }
        }
        self.weigh(now, news);
    }

    /// The worker answered us.
    pub fn on_answer(&mut self, now: Instant, question: Question, answer: &Answer) {
        self.hear(now);
        self.unanswered = 0;
        let news = match (question, answer) {
            (_, Answer::Stats(stats)) => self.on_stats(now, stats),
            (_, Answer::Queues(queues)) => {
                self.put_queues(queues.iter().map(Queue::of).collect(), now);
                false
            }
            (Question::Active, Answer::Tasks(tasks)) => {
                put(&mut self.active, Some(tasks.total), now)
            }
            (Question::Reserved, Answer::Tasks(tasks)) => {
                put(&mut self.reserved, Some(tasks.total), now)
            }
            (Question::Scheduled, Answer::Tasks(tasks)) => {
                put(&mut self.scheduled, Some(tasks.total), now)
            }
            _ => false,
        };
        self.weigh(now, news);
    }

    fn on_stats(&mut self, now: Instant, stats: &Stats) -> bool {
        let began = stats.uptime_seconds.and_then(|seconds| {
            let uptime = Duration::try_from_secs_f64(seconds).ok()?;
            now.checked_sub(uptime)
        });
        let other_pid = matches!((self.pid, stats.pid), (Some(old), Some(new)) if old != new);
        // `uptime` is whole seconds, and an answer may have taken some.
        let slack = Duration::from_secs(15);
        let later = matches!((self.began, began), (Some(old), Some(new)) if new > old + slack);
        if other_pid || later {
            self.on_new_life();
        }
        self.pid = stats.pid.or(self.pid);
        self.began = began.or(self.began);
        let pool = &stats.pool;
        self.solo = Some(match &pool.implementation {
            Some(class) => class.contains("solo"),
            // Before 5.3 it says only which processes it has: itself.
            None => {
                matches!((pool.processes.as_slice(), stats.pid), ([one], Some(pid)) if *one == pid)
            }
        });
        let processed = stats.totals.iter().map(|(_, count)| *count).sum();
        put(&mut self.processed, Some(processed), now)
    }

    /// It was asked, the broker took the question, and no answer came.
    pub fn on_silence(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Its queues were looked at: what waits in each.
    pub fn on_depths(&mut self, now: Instant, depths: &[(String, u64)]) {
        let before = self.look.replace(Fact {
            value: Ok(()),
            at: now,
        });
        // Looks that do not follow each other say nothing of the time between them.
        if before.is_none_or(|look| look.value.is_err() || look.at + self.look_every() * 3 < now) {
            self.waiting = None;
        }
        let full = depths.iter().find(|(name, ready)| {
            *ready > 0 && self.is_consumed(name) && self.is_fair(name) != Some(false)
        });
        self.waiting = full.map(|(queue, ready)| Waiting {
            since: self.waiting.as_ref().map_or(now, |waiting| waiting.since),
            queue: queue.clone(),
            ready: *ready,
        });
    }

    /// The broker could not be used from here.
    pub fn on_broker_failed(&mut self, now: Instant, reason: String) {
        self.waiting = None;
        self.look = Some(Fact {
            value: Err(reason),
            at: now,
        });
    }

    /// A drain began, ended, or was undone.
    pub fn on_drain(&mut self, drain: Drain) {
        self.drain = drain;
    }

    /// Where the drain is.
    pub fn drain(&self) -> Drain {
        self.drain
    }

    /// Counts the lives of its process that were told apart.
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// Whether anything was ever heard of it.
    pub fn is_known(&self) -> bool {
        self.heard.is_some()
    }

    /// When anything was heard of it last.
    pub fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Whether the stream says, by a heartbeat since `since`, that it runs tasks: then there is no need to ask.
    pub fn is_seen_busy(&self, now: Instant, since: Instant) -> bool {
        let recent = |fact: &Fact<u64>| fact.at >= since && fact.at + FRESH_SOLO >= now;
        let busy = |active: &Fact<u64>| recent(active) && active.value > 0;
        self.is_followed(now) && self.active.as_ref().is_some_and(busy)
    }

    /// Tasks running, prefetched and waiting for their time, as last known.
    pub fn holds(&self) -> [Option<u64>; 3] {
        [&self.active, &self.reserved, &self.scheduled]
            .map(|fact| fact.as_ref().map(|fact| fact.value))
    }

    /// The queues that it consumes from, as last known.
    pub fn queues(&self) -> Option<Vec<String>> {
        let queues = self.queues.as_ref()?;
        Some(
            queues
                .value
                .iter()
                .map(|queue| queue.name.clone())
                .collect(),
        )
    }

    /// When it was told last that it consumes from no queue at all.
    pub fn emptied_at(&self) -> Option<Instant> {
        let queues = self.queues.as_ref()?;
        queues.value.is_empty().then_some(queues.at)
    }

    /// What to ask it directly, if the stream does not tell; and whether it is waited for.
    pub fn question(&self, now: Instant) -> Option<Question> {
        if self.is_followed(now) {
            // The stream does not tell which queues are fair; it is asked once there is a suspicion.
            let suspected = self.rules.queues_differ && self.waiting.is_some();
            let unknown =
                |queues: &Fact<Vec<Queue>>| queues.value.iter().any(|queue| queue.fair.is_none());
            return (suspected && self.queues.as_ref().is_some_and(unknown))
                .then_some(Question::ActiveQueues);
        }
        if !self.consumed || self.queues.is_none() {
            return Some(Question::ActiveQueues);
        }
        if self.waiting.is_none() && self.idle_since.is_some() {
            return Some(Question::Stats);
        }
        // What was told the longest ago; what was never told, first.
        let at = |fact: &Option<Fact<u64>>| fact.as_ref().map(|fact| fact.at);
        let queues = self.queues.as_ref().map(|fact| fact.at);
        [
            (at(&self.processed), Question::Stats),
            (at(&self.scheduled), Question::Scheduled),
            (at(&self.reserved), Question::Reserved),
            (at(&self.active), Question::Active),
            (queues, Question::ActiveQueues),
        ]
        .into_iter()
        .min_by_key(|(at, _)| *at)
        .map(|(_, question)| question)
    }

    /// Whether what is to be asked is waited for: is it ready?
    pub fn is_waited_for(&self) -> bool {
        !self.consumed
    }

    /// Whether its queues are to be looked at: it idles, and something may wait for it.
    pub fn wants_look(&self, now: Instant) -> bool {
        let idle = self
            .idle_since
            .is_some_and(|since| since + self.look_every() <= now);
        idle && self.drain == Drain::None && self.queues().is_some_and(|names| !names.is_empty())
    }

    /// Time between two looks.
    pub fn look_every(&self) -> Duration {
        (self.rules.stalled_after / 5).clamp(LOOK_MIN, LOOK_MAX)
    }

    /// Whether a stream tells of it.
    pub fn is_followed(&self, now: Instant) -> bool {
        let open = self.stream.is_some_and(|at| at + STREAM_SILENCE >= now);
        let patience = if self.consumed {
            WORKER_SILENCE
        } else {
            WORKER_SILENCE_FIRST
        };
        open && self.heard.unwrap_or(self.started) + patience >= now
    }

    fn hear(&mut self, at: Instant) {
        self.heard = self.heard.max(Some(at));
    }

    fn on_new_life(&mut self) {
        self.lives += 1;
        for fact in [
            &mut self.processed,
            &mut self.active,
            &mut self.reserved,
            &mut self.scheduled,
        ] {
            *fact = None;
        }
        self.queues = None;
        self.consumed = false;
        self.idle_since = None;
        self.waiting = None;
        self.heartbeats_since = None;
        (self.pid, self.began) = (None, None);
    }

    fn put_queues(&mut self, queues: Vec<Queue>, at: Instant) {
        if self.queues.as_ref().is_some_and(|known| known.at > at) {
            return;
        }
        self.consumed |= !queues.is_empty();
        self.queues = Some(Fact { value: queues, at });
    }

    fn is_consumed(&self, name: &str) -> bool {
        let queues = self.queues.iter().flat_map(|fact| &fact.value);
        queues.into_iter().any(|queue| queue.name == name)
    }

    fn is_fair(&self, name: &str) -> Option<bool> {
        let mut queues = self.queues.iter().flat_map(|fact| &fact.value);
        queues
            .find(|queue| queue.name == name)
            .and_then(|queue| queue.fair)
    }

    /// Whether it idles, after what was just heard.
    fn weigh(&mut self, now: Instant, news: bool) {
        let numbers = [
            &self.processed,
            &self.active,
            &self.reserved,
            &self.scheduled,
        ];
        let known = numbers.iter().all(|fact| fact.is_some());
        let held = numbers[1..]
            .iter()
            .any(|fact| fact.is_some_and(|fact| fact.value > 0));
        self.consumed |= held || self.processed.is_some_and(|fact| fact.value > 0);
        self.idle_since = match self.idle_since {
            _ if held || !known => None,
            Some(since) if !news => Some(since),
            _ => Some(now),
        };
    }
}

impl Queue {
    fn of(consumed: &ConsumedQueue) -> Self {
        // The text is the worker's, as JSON; an argument's name is in it with its quotes.
        let arguments = consumed.queue_arguments.as_deref().unwrap_or_default();
        let unfair = arguments.contains("\"x-single-active-consumer\"")
            || (arguments.contains("\"x-queue-type\"") && arguments.contains("\"stream\""));
        Self {
            name: consumed.name.clone(),
            fair: Some(!unfair),
        }
    }
}

/// Keeps a number if it is newer. Whether it is another one than before.
fn put(fact: &mut Option<Fact<u64>>, value: Option<u64>, at: Instant) -> bool {
    let Some(value) = value else {
        return false;
    };
    if fact.is_some_and(|known| known.at > at) {
        return false;
    }
    let before = fact.replace(Fact { value, at });
    before.is_none_or(|before| before.value != value)
}
