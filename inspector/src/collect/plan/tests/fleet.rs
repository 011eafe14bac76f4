//! A fleet of workers with invented time.

use super::super::*;
use crate::wire::event::Event;

/// A fleet, its plan, and everything that was published.
pub(super) struct Fleet {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) plan: Plan,
    pub(super) roster: Roster,
    pub(super) workers: Vec<String>,
    pub(super) deaf: Vec<String>,
    pub(super) published: Vec<(Instant, Request)>,
    pub(super) heartbeats: bool,
    /// How many the broker says that a request reached, of so many.
    pub(super) counts: fn(u64) -> Option<u64>,
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn fleet(size: usize, limits: Limits) -> Fleet {
    let now = Instant::now();
    Fleet {
        start: now,
        now,
        plan: Plan::new(now, limits, None, 7),
        roster: Roster::new(),
        workers: (0..size)
            .map(|number| format!("celery@w{number}"))
            .collect(),
        deaf: Vec::new(),
        published: Vec::new(),
        heartbeats: true,
        counts: Some,
    }
}

impl Fleet {
    pub(super) fn see(&mut self, event_type: &str, hostname: &str, processed: u64) {
        let event = Event {
            event_type: event_type.into(),
            hostname: hostname.into(),
            pid: Some(1),
            processed: Some(processed),
            ..Event::default()
        };
        let sighting = self.roster.on_event(self.now, &event);
        self.plan
            .on_sighting(self.now, &mut self.roster, hostname, sighting);
    }

    pub(super) fn beat(&mut self) {
        for worker in self.workers.clone() {
            self.see("worker-heartbeat", &worker, 0);
        }
    }

    /// Lets time pass in steps of 50 ms; all workers send a heartbeat every 2 s, and answer at once.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            let millis = self.now.duration_since(self.start).as_millis();
            if self.heartbeats && millis.is_multiple_of(2_000) {
                self.beat();
            }
            while let Some(request) = self.plan.next(self.now, &mut self.roster, 0) {
                self.publish(request);
            }
        }
    }

    pub(super) fn publish(&mut self, request: Request) {
        let reached = (self.counts)(self.workers.len() as u64);
        self.plan.on_published(self.now, &request, reached);
        let everybody = request.destination.is_empty();
        let named = |worker: &str| request.destination.iter().any(|node| &**node == worker);
        let last_of_look = {
            let earlier = self
                .published
                .iter()
                .filter(|(_, one)| one.look == request.look);
            earlier.count() + 1 == request.questions_in_look
        };
        for worker in self.workers.clone() {
            let asked = everybody || named(&worker);
            let answers = asked && !self.deaf.contains(&worker);
            if answers {
                let sighting = self.roster.on_answer(self.now, &worker);
                self.plan
                    .on_sighting(self.now, &mut self.roster, &worker, sighting);
            }
            if asked && !everybody && last_of_look {
                self.roster
                    .on_look_ended(self.now, &worker, answers, Parts::NONE);
            }
        }
        self.plan.on_ended();
        self.published.push((self.now, request));
    }

    pub(super) fn deliveries(&self, until: Instant) -> u64 {
        let made = self.published.iter().filter(|(at, _)| *at <= until).count();
        (made * self.workers.len()) as u64
    }

    /// How many workers have been asked `question`, and how many requests that took.
    pub(super) fn asked(&self, question: Question) -> (usize, usize) {
        let mut workers = std::collections::BTreeSet::new();
        let mut requests = 0;
        for (_, request) in self
            .published
            .iter()
            .filter(|(_, one)| one.question == question)
        {
            workers.extend(request.destination.iter().cloned());
            requests += 1;
        }
        (workers.len(), requests)
    }

    pub(super) fn broadcasts(&self) -> Vec<Instant> {
        let broadcast = |(_, request): &&(Instant, Request)| request.destination.is_empty();
        self.published
            .iter()
            .filter(broadcast)
            .map(|(at, _)| *at)
            .collect()
    }
}
