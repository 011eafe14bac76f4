//! Taking up what was stored.

use super::app::{App, Listed, Watched};
use super::gap::Gap;
use super::limits::{QUEUES_MAX, TASK_NAMES_MAX, WORKERS_MAX};
use super::queue::Queue;
use super::task::{Task, TaskState};
use super::task_name::TaskName;
use super::usage::Usage;
use super::worker::Worker;

impl App {
    /// Takes in a task from history, before an event of it. A finished one is in grace again. What is in memory already is
    /// newer and stays.
    pub fn restore_task(&mut self, mut task: Task) {
        if self.holds(&task.id) {
            return;
        }
        let names = &mut self.names;
        let places = [
            &mut task.name,
            &mut task.worker,
            &mut task.client,
            &mut task.queue,
            &mut task.exchange,
            &mut task.routing_key,
        ];
        for place in places {
            names.adopt(place);
        }
        for attempt in &mut task.attempts {
            names.adopt(&mut attempt.worker);
        }
        if let Some(end) = &mut task.final_event {
            end.worker = names.intern(end.worker.clone());
        }
        if let TaskState::Custom(state) = task.state {
            task.state = TaskState::Custom(names.intern(state));
        }
        if task.doubted.is_some() {
            self.doubt_until = self.doubt_until.max(task.doubted);
            self.wanted.want(&task.id);
            self.sought.seek(&task.id, self.now);
        }
        let slot = self.tasks.insert(task, self.now, true);
        let moved = self.tasks.settle(slot, self.now, true);
        for worker in moved.into_iter().flatten().filter_map(|moved| moved.worker) {
            self.settle_reserved(&worker);
        }
    }

    /// Takes in a worker. Its silence counts from when the subscription is next seen to be live.
    pub fn restore_worker(&mut self, mut worker: Worker) {
        if self.workers.contains_key(&worker.name) || self.workers.len() >= WORKERS_MAX {
            return;
        }
        let names = &mut self.names;
        worker.name = names.intern(worker.name);
        for place in [&mut worker.sw_ident, &mut worker.sw_ver, &mut worker.sw_sys] {
            names.adopt(place);
        }
        let mut consumed = Vec::new();
        if let Some(inspection) = &mut worker.inspection {
            inspection.adopt(names);
            consumed.extend(
                inspection
                    .queues
                    .iter()
                    .flatten()
                    .map(|queue| queue.name.clone()),
            );
        }
        let name = worker.name.clone();
        for queue in consumed {
            self.consumers.entry(queue).or_default().push(name.clone());
        }
        self.workers.insert(
            name.clone(),
            Watched {
                worker,
                heard: self.now,
                listed: Listed::NEVER,
                usage: Usage::default(),
                quiet: false,
            },
        );
        self.settle_reserved(&name);
    }

    /// Takes in the statistics of a task name.
    pub fn restore_task_name(&mut self, mut statistics: TaskName) {
        if self.task_names.len() < TASK_NAMES_MAX || self.task_names.contains_key(&statistics.name)
        {
            statistics.name = self.names.intern(statistics.name);
            self.task_names.insert(statistics.name.clone(), statistics);
        }
    }

    /// Takes in a queue.
    pub fn restore_queue(&mut self, mut queue: Queue) {
        if self.queues.len() < QUEUES_MAX || self.queues.contains_key(&queue.name) {
            queue.name = self.names.intern(queue.name);
            self.queues.insert(queue.name.clone(), queue);
        }
    }

    /// Takes in a gap.
    pub fn restore_gap(&mut self, gap: Gap) {
        let _kept = self.keep_gap(gap);
    }

    /// Takes up the count of distinct events.
    pub fn restore_events_folded(&mut self, events: u64) {
        self.events_folded = events;
    }
}
