//! What to ask whom next: events first, pidbox rarely, within a budget. It publishes nothing, reads no clock and draws its
//! chance from a seed.
//!
//! The rules (each has a test): everything but `ping` is addressed; one request names up to `destination_max` workers;
//! `ping` is broadcast once at the start and again only when the broker counts more subscribers than workers are known,
//! at most every [`PING_AGAIN`]; deliveries stay within the budget whatever the number of workers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Node;
use super::budget::{Budget, Rate};
use super::question::{Part, Parts, Question};
use super::roster::{Roster, Sighting, Urgency};
use crate::wire::content::Serializer;
use crate::wire::pidbox;

/// How long after a broadcast `ping` the next one may follow.
pub const PING_AGAIN: Duration = Duration::from_mins(10);

/// How long after `enable_events` the same worker may be told again in the same life.
const EVENTS_AGAIN: Duration = Duration::from_mins(10);

/// New workers are asked after this long: one says that it is on line some tenths of a second before it listens to remote
/// control, and those that appear together share their requests.
const SETTLE: Duration = Duration::from_millis(1_500);

/// On top of [`SETTLE`] a random time up to this, so that inspectors started together do not ask together.
const SETTLE_JITTER: Duration = Duration::from_millis(500);

/// Workers that may be asked within this time go into a request that is made now.
const TOGETHER: Duration = Duration::from_secs(1);

/// The part of the budget that periodic rounds may use: the rest is for new workers and repairs.
const ROUND_SHARE: f64 = 0.5;

/// A part gives way this long to a more urgent one of other workers: what a worker is and consumes is known of the whole
/// fleet before what it holds, and that before its settings; none waits for ever.
const PART_AFTER: Duration = Duration::from_secs(30);

/// After a command a worker has had time to begin: it answers before it consumes.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// After a command what a worker does at leisure is done: billiard makes the processes of a grown pool at its next
/// maintenance, every 5 s, and a gevent worker takes its loop's next turn, within 2 s.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(6);

/// Time between two repairs: a broker that comes and goes, or floods its reader, does not make workers pay for it.
const REPAIR_AGAIN: Duration = Duration::from_secs(10);

/// Requests that wait for the budget at most. What the plan asks on its own account is a handful; the aggregator names tasks
/// again only after an answer, and 5,000 workers are 100 requests.
const QUEUED_MAX: usize = 128;

/// What nobody is called: a request to it reaches nobody and still makes the broker count its subscribers.
pub const NOBODY: &str = "celeriac@nobody";

/// What bounds the plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Worker deliveries per second, on average.
    pub deliveries: Rate,
    /// Workers named in one request at most.
    pub destination_max: usize,
    /// Time between periodic rounds; ± 25 %, longer when the budget demands.
    pub round: Duration,
    /// Replies awaited at once at most: what workers are too busy to answer makes them be asked more slowly, instead of letting
    /// requests pile up at them until none is answered in time.
    pub replies_max: usize,
    /// Switch task events on where they are off.
    pub enable_events: bool,
    /// How requests are serialized.
    pub serializer: Serializer,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deliveries: Rate::Fleet,
            destination_max: 50,
            round: Duration::from_mins(1),
            replies_max: 250,
            enable_events: false,
            serializer: Serializer::Json,
        }
    }
}

/// One request to make now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The look it belongs to.
    pub look: u64,
    /// How many questions the look has in all.
    pub questions_in_look: usize,
    /// What to ask.
    pub question: Question,
    /// The tasks that `query_task` is about; none with other questions.
    pub tasks: Arc<[String]>,
    /// Whom; everybody when empty, which only `ping` may be.
    pub destination: Vec<Node>,
    /// Deliveries taken from the budget.
    pub charged: u64,
}

impl Request {
    /// What workers get.
    pub fn message(&self) -> pidbox::Request {
        let request = self.question.request(&self.destination);
        match self.question {
            Question::QueryTask => request.argument("ids", self.tasks.to_vec()),
            _ => request,
        }
    }

    /// Whether it is only there to make the broker count its subscribers: nobody answers it.
    pub fn only_counts(&self) -> bool {
        matches!(self.destination.as_slice(), [node] if **node == *NOBODY)
    }
}

/// The plan.
#[derive(Debug)]
pub struct Plan {
    limits: Limits,
    budget: Budget,
    chance: fastrand::Rng,
    queue: VecDeque<Request>,
    looks: u64,
    subscribers: Option<u64>,
    pinged: Option<Instant>,
    /// When the next periodic round begins; `None` before the first ping.
    round_at: Option<Instant>,
    published: Option<Instant>,
    /// When the latest repair begins or began.
    repaired: Option<Instant>,
    /// Nothing is to be asked before, unless something changes; `None` when that is not known.
    idle_until: Option<Instant>,
    /// Nothing is to be asked before, whatever changes: publishing failed.
    paused_until: Option<Instant>,
}

impl Plan {
    /// An idle plan. `pinged` is when this process last broadcast a ping, so that a change of role does not repeat it.
    pub fn new(now: Instant, limits: Limits, pinged: Option<Instant>, seed: u64) -> Self {
        Self {
            limits,
            budget: Budget::new(now, limits.deliveries),
            chance: fastrand::Rng::with_seed(seed),
            queue: VecDeque::new(),
            looks: 0,
            subscribers: None,
            pinged,
            round_at: None,
            published: None,
            repaired: None,
            idle_until: None,
            paused_until: None,
        }
    }

    /// When a ping was last broadcast.
    pub fn pinged(&self) -> Option<Instant> {
        self.pinged
    }

    /// Subscribers of remote control, as the broker counted them at the last publish.
    pub fn subscribers(&self) -> Option<u64> {
        self.subscribers
    }

    /// Something was seen of a worker.
    pub fn on_sighting(&mut self, now: Instant, roster: &mut Roster, node: &str, what: Sighting) {
        if what == Sighting::Known {
            return;
        }
        let soon = now + self.settle();
        match what {
            Sighting::New => roster.want(node, Parts::FIRST, Urgency::First, soon),
            Sighting::Back => roster.want(node, Parts::IDENTITY, Urgency::First, soon),
            Sighting::Known | Sighting::EventsOff => {}
        }
        let may = matches!(what, Sighting::New | Sighting::EventsOff) && self.limits.enable_events;
        if may && roster.may_enable_events(now, node, EVENTS_AGAIN) {
            roster.want(node, Parts::EVENTS, Urgency::First, soon);
        }
        self.idle_until = None;
    }

    /// Events were missed: what workers hold is asked soon.
    pub fn on_repair(&mut self, now: Instant, roster: &mut Roster) {
        let soon = now + self.settle();
        let soon = match self.repaired {
            // One that is to come already serves this loss too.
            Some(planned) if planned > now => planned,
            Some(before) => soon.max(before + REPAIR_AGAIN),
            None => soon,
        };
        self.repaired = Some(soon);
        roster.want_all(now, Parts::REPAIR, Urgency::Repair, soon);
        self.idle_until = None;
    }

    /// A request ended, so that there may be room for another.
    pub fn on_ended(&mut self) {
        self.idle_until = None;
    }

    /// A person's command was published and caused so many deliveries. It did not wait for the budget, and what it took is
    /// paid back by waiting longer with the plan's own requests.
    pub fn on_command(&mut self, now: Instant, deliveries: u64, subscribers: Option<u64>) {
        self.budget.take(now, to_f64(deliveries));
        self.subscribers = subscribers.or(self.subscribers);
        self.idle_until = None;
    }

    /// Tasks are to be asked for by id, of these workers and nobody else. The budget holds for that too. False when so much
    /// waits to be asked already that it is left out.
    pub fn on_query(&mut self, tasks: Vec<String>, nodes: &[Node]) -> bool {
        let lists = nodes.chunks(self.limits.destination_max.max(1));
        if self.queue.len() + lists.len() > QUEUED_MAX {
            return false;
        }
        let tasks: Arc<[String]> = tasks.into();
        for nodes in lists {
            self.push(nodes, &[Question::QueryTask], &tasks);
        }
        self.idle_until = None;
        true
    }

    /// A worker was changed by a command: it is looked at when it has had time to do it, and once more when what it does at
    /// leisure is done too.
    pub fn on_change(&mut self, now: Instant, roster: &mut Roster, node: &str) {
        roster.want_twice(node, now + LOOK_AFTER, now + LOOK_AGAIN_AFTER);
        self.idle_until = None;
    }

    /// A request was published and reached `subscribers`.
    pub fn on_published(&mut self, now: Instant, request: &Request, subscribers: Option<u64>) {
        self.published = Some(now);
        if let Some(count) = subscribers {
            // Nothing is given back: a count that is lower than what was known may be old.
            self.budget
                .take(now, to_f64(count.saturating_sub(request.charged)));
        }
        // Where it is not counted, an earlier count, such as that nobody was there yet, is true no more.
        self.subscribers = subscribers;
        self.idle_until = None;
    }

    /// A request could not be published: the rest of its look is dropped and its workers are asked again later.
    pub fn on_unpublished(&mut self, roster: &mut Roster, request: &Request, again: Instant) {
        self.queue.retain(|queued| queued.look != request.look);
        for node in &request.destination {
            if let Some(worker) = roster.get_mut(node) {
                worker.busy = false;
            }
            roster.want(node, Parts::FIRST, Urgency::First, again);
        }
        if request.destination.is_empty() {
            self.pinged = None;
        }
        self.paused_until = Some(again);
        self.idle_until = None;
    }

    /// When [`Plan::next`] is to be called next, unless something happens before; `None` is at once.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.idle_until
    }

    /// The next request to make, if any may be made now. `awaited` replies are still to come.
    pub fn next(&mut self, now: Instant, roster: &mut Roster, awaited: usize) -> Option<Request> {
        if self.idle_until.is_some_and(|until| now < until) {
            return None;
        }
        if self.paused_until.is_some_and(|until| now < until) {
            self.idle_until = self.paused_until;
            return None;
        }
        self.budget.fit(now, to_f64(self.cost(now, roster)));
        self.begin_round(now, roster);
        if self.queue.is_empty() {
            self.look(now, roster);
        }
        let Some(request) = self.queue.front() else {
            self.idle_until = Some(self.next_reason(roster));
            return None;
        };
        let cost = self.cost(now, roster);
        let room = awaited == 0 || awaited + request.destination.len() <= self.limits.replies_max;
        if !room || !self.budget.allows(now, to_f64(cost)) {
            // Without room the end of a request wakes the plan.
            let affordable = self.budget.allows_at(now, to_f64(cost));
            self.idle_until = Some(affordable.max(now + Duration::from_millis(100)));
            return None;
        }
        self.budget.take(now, to_f64(cost));
        let mut request = self.queue.pop_front()?;
        request.charged = cost;
        Some(request)
    }

    /// Deliveries that a request causes: the last count, and never less than the workers known, since a count may be some
    /// seconds old.
    fn cost(&self, now: Instant, roster: &Roster) -> u64 {
        let known = u64::try_from(roster.present(now).count()).unwrap_or(u64::MAX);
        self.subscribers.unwrap_or_default().max(known).max(1)
    }

    fn settle(&mut self) -> Duration {
        SETTLE + SETTLE_JITTER.mul_f64(self.chance.f64())
    }

    /// Wants a round of everybody when one is due; without anybody to ask, lets the broker count.
    fn begin_round(&mut self, now: Instant, roster: &mut Roster) {
        let Some(round_at) = self.round_at else {
            self.round_at = Some(now + self.interval(now, roster));
            return;
        };
        // A round that has not been worked off is not begun again.
        if now < round_at || !self.queue.is_empty() {
            return;
        }
        if roster
            .askable()
            .any(|(_, worker)| worker.urgency == Urgency::Round)
        {
            return;
        }
        let interval = self.interval(now, roster);
        roster.on_round(interval);
        self.round_at = Some(now + interval);
        let asked = roster.want_all(now, Parts::ROUND, Urgency::Round, now);
        let counted_lately = self
            .published
            .is_some_and(|at| now.saturating_duration_since(at) < interval);
        if asked == 0 && self.pinged.is_some() && !counted_lately {
            self.push(&[Node::from(NOBODY)], &[Question::Ping], &Arc::default());
        }
    }

    /// Time to the next round.
    fn interval(&mut self, now: Instant, roster: &Roster) -> Duration {
        let jittered = self.limits.round.mul_f64(0.75 + 0.5 * self.chance.f64());
        let workers = roster.present(now).count();
        let requests =
            workers.div_ceil(self.limits.destination_max) * Parts::ROUND.questions().len();
        let deliveries = to_f64(requests as u64) * to_f64(self.cost(now, roster));
        let share = self.budget.per_second() * ROUND_SHARE;
        // A day is longer than any round; the bound keeps an absurd budget from overflowing.
        let needed = Duration::from_secs_f64((deliveries / share).min(86_400.0));
        jittered.max(needed)
    }

    /// Queues the requests of the most urgent look, if one can be made.
    fn look(&mut self, now: Instant, roster: &mut Roster) {
        if self.ping_is_due(now, roster) {
            self.pinged = Some(now);
            self.push(&[], &[Question::Ping], &Arc::default());
            return;
        }
        let Some((parts, nodes)) = self.choose(now, roster) else {
            return;
        };
        for node in &nodes {
            if let Some(worker) = roster.get_mut(node) {
                worker.wants = worker.wants.without(parts);
                worker.busy = true;
            }
        }
        let mut questions = parts.questions();
        if self.limits.serializer == Serializer::Yaml {
            // Celery cannot write the counters in it as YAML, and after it has tried is deaf for a moment.
            questions.retain(|question| *question != Question::Stats);
        }
        self.push(&nodes, &questions, &Arc::default());
    }

    fn ping_is_due(&self, now: Instant, roster: &Roster) -> bool {
        let Some(pinged) = self.pinged else {
            return true;
        };
        let known = u64::try_from(roster.present(now).count()).unwrap_or(u64::MAX);
        now.saturating_duration_since(pinged) >= PING_AGAIN
            && self.subscribers.is_some_and(|count| count > known)
    }

    /// Which parts to ask of whom now.
    fn choose(&mut self, now: Instant, roster: &Roster) -> Option<(Parts, Vec<Node>)> {
        let (_, first) = roster
            .askable()
            .filter(|(_, worker)| worker.not_before <= now)
            .min_by_key(|(_, worker)| {
                (worker.urgency, worker.not_before + gives_way(worker.wants))
            })?;
        let cost = to_f64(self.cost(now, roster)) * to_f64(first.wants.questions().len() as u64);
        // Asked at once when that fits the burst; else part by part, so that the answers of a part stay together.
        let part = || {
            Part::ALL
                .into_iter()
                .find(|part| first.wants.has(*part))
                .map(Parts::from)
        };
        let parts = if cost <= self.budget.burst() {
            Some(first.wants)
        } else {
            part()
        }?;
        let wanted = |wants: Parts| parts.without(wants).is_empty();
        let mut nodes: Vec<(Urgency, Instant, &Node)> = roster
            .askable()
            .filter(|(_, worker)| worker.not_before <= now + TOGETHER && wanted(worker.wants))
            .map(|(node, worker)| (worker.urgency, worker.not_before, node))
            .collect();
        nodes.sort_unstable();
        let nodes = nodes.into_iter().take(self.limits.destination_max);
        Some((parts, nodes.map(|(_, _, node)| node.clone()).collect()))
    }

    fn push(&mut self, nodes: &[Node], questions: &[Question], tasks: &Arc<[String]>) {
        self.looks += 1;
        let (look, questions_in_look) = (self.looks, questions.len());
        self.queue.extend(questions.iter().map(|&question| Request {
            look,
            questions_in_look,
            question,
            tasks: Arc::clone(tasks),
            destination: nodes.to_vec(),
            charged: 0,
        }));
    }

    /// The earliest time at which there is a reason to ask.
    fn next_reason(&self, roster: &Roster) -> Instant {
        let soonest = roster.askable().map(|(_, worker)| worker.not_before).min();
        let round = self.round_at.expect("begin_round has set it");
        soonest.map_or(round, |soonest| soonest.min(round))
    }
}

/// How long a worker gives way to others for the most urgent part that is wanted of it.
fn gives_way(wants: Parts) -> Duration {
    let rank = Part::ALL
        .iter()
        .take_while(|part| !wants.has(**part))
        .count();
    PART_AFTER * u32::try_from(rank).unwrap_or(0)
}

/// Counts here are far below 2^52, where every integer has its own float.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of workers are far below 2^52"
)]
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
