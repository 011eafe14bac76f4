//! A pool in a cluster that is only numbers: it takes pods as a ReplicaSet does, and workers run tasks, answer or do not.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::drain::facts::{Deployment, Facts, Worker, Workers};
use crate::drain::marks::{COST_DRAINED, COST_DRAINING};
use crate::drain::pod::{Note, Pod};
use crate::drain::{Answer, Deed, Memory, Step, Told, step};

/// The queue of every worker.
pub(super) const QUEUE: &str = "mail";

/// What a worker does.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    /// Queues that it consumes.
    pub(super) queues: Vec<String>,
    /// Seconds that each of the tasks it runs still takes.
    pub(super) runs: Vec<u32>,
    pub(super) answers: bool,
    /// Queues that a person had it stop consuming, and when.
    pub(super) cancelled: BTreeMap<String, Timestamp>,
    /// It says that it does what it is told, and does not.
    pub(super) ignores: bool,
}

/// A pool.
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) target: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) replicas: u32,
    pub(super) template: u32,
    /// Queues that its workers are started with, where the pool says so.
    pub(super) names: Vec<String>,
    pub(super) reachable: Result<(), Workers>,
    pub(super) pods: Vec<(Pod, Life)>,
    pub(super) memory: Memory,
    pub(super) told: Vec<Told>,
    /// Tasks that went with their pods though nobody had given up waiting.
    pub(super) interrupted: usize,
    /// Deeds after which the leader is gone, counted down.
    pub(super) dies_after: Option<usize>,
    made: u32,
}

impl World {
    /// A pool of so many idle workers.
    pub(super) fn of(replicas: u32) -> Self {
        let mut world = Self {
            now: Timestamp::from_second(1_750_000_000).expect("a time"),
            target: replicas,
            timeout: None,
            replicas,
            template: 1,
            names: Vec::new(),
            reachable: Ok(()),
            pods: Vec::new(),
            memory: Memory::default(),
            told: Vec::new(),
            interrupted: 0,
            dies_after: None,
            made: 0,
        };
        world.reconcile();
        world.pods.iter_mut().for_each(start);
        world
    }

    pub(super) fn life(&mut self, name: &str) -> &mut Life {
        let found = self.pods.iter_mut().find(|(pod, _)| pod.name == name);
        &mut found.expect("it is there").1
    }

    pub(super) fn pod(&self, name: &str) -> Option<&Pod> {
        let mut pods = self.pods.iter().map(|(pod, _)| pod);
        pods.find(|pod| pod.name == name)
    }

    pub(super) fn live(&self) -> Vec<&str> {
        let live = self.pods.iter().filter(|(pod, _)| !pod.terminating);
        live.map(|(pod, _)| pod.name.as_str()).collect()
    }

    /// What the ReplicaSet does: missing pods are made, of too many some are taken in Kubernetes' order. Then those that go
    /// are gone.
    pub(super) fn reconcile(&mut self) {
        self.pods.retain(|(pod, _)| !pod.terminating);
        let wanted = usize::try_from(self.replicas).expect("few");
        while self.pods.len() < wanted {
            self.made += 1;
            let pod = Pod {
                name: format!("p{}", self.made),
                uid: format!("u{}", self.made),
                created: self.now,
                ready: false,
                terminating: false,
                runs: false,
                container: None,
                template: Some(self.template.to_string()),
                cost: None,
                mark: Note::Absent,
                undone: Note::Absent,
            };
            self.pods.push((pod, Life::default()));
        }
        let mut order: Vec<usize> = (0..self.pods.len()).collect();
        order.sort_by_key(|at| {
            let pod = &self.pods[*at].0;
            let created = std::cmp::Reverse(pod.created);
            (
                pod.container.is_some(),
                pod.ready,
                pod.cost.unwrap_or(0),
                created,
                *at,
            )
        });
        for at in order.into_iter().take(self.pods.len() - wanted) {
            let (pod, life) = &mut self.pods[at];
            pod.terminating = true;
            if self.timeout.is_none() && !matches!(self.reachable, Err(Workers::Never(_))) {
                self.interrupted += life.runs.len();
            }
        }
    }

    /// The pods that are new have started.
    pub(super) fn start(&mut self) {
        self.pods
            .iter_mut()
            .filter(|(pod, _)| !pod.runs)
            .for_each(start);
    }

    /// A second passes for tasks.
    pub(super) fn second(&mut self) {
        self.now += jiff::SignedDuration::from_secs(1);
        for (_, life) in &mut self.pods {
            life.runs.iter_mut().for_each(|left| *left -= 1);
            life.runs.retain(|left| *left > 0);
        }
    }

    pub(super) fn facts(&self) -> Facts {
        let live = self.pods.iter().filter(|(pod, _)| !pod.terminating);
        let count = |count: usize| u32::try_from(count).expect("few");
        let template = Some(self.template.to_string());
        let updated = live.clone().filter(|(pod, _)| pod.template == template);
        let running = live.clone().filter(|(pod, _)| pod.runs);
        let workers: BTreeMap<String, Worker> = running
            .map(|(pod, life)| {
                let worker = Worker {
                    online: true,
                    pid: Some(1),
                    life: 1,
                    slots: Some(2),
                    active: Some(life.runs.len() as u64),
                    reserved: Some(0),
                    scheduled: Some(0),
                    remainder: None,
                    queues: Some((life.queues.clone(), self.now)),
                    cancelled: Some(life.cancelled.clone()),
                };
                (pod.node(), worker)
            })
            .collect();
        Facts {
            now: self.now,
            target: self.target,
            timeout: self.timeout,
            unasked_go: true,
            deployment: Deployment {
                replicas: self.replicas,
                total: count(live.count()),
                updated: count(updated.count()),
                observed: true,
                version: String::new(),
                queues: self.names.clone(),
            },
            pods: self.pods.iter().map(|(pod, _)| pod.clone()).collect(),
            workers: match &self.reachable {
                Ok(()) => Workers::Known(workers),
                Err(workers) => workers.clone(),
            },
        }
    }

    /// One step of the operator, and all that it says done; unless the leader dies in between.
    pub(super) fn step(&mut self) -> Step {
        let facts = self.facts();
        let step = step(&facts, &mut self.memory);
        for deed in &step.deeds {
            if let Some(left) = &mut self.dies_after {
                if *left == 0 {
                    self.dies_after = None;
                    self.memory = Memory::default();
                    return step;
                }
                *left -= 1;
            }
            self.act(deed);
        }
        step
    }

    fn act(&mut self, deed: &Deed) {
        let now = self.now;
        let of = |uid: &str| {
            let uid = uid.to_owned();
            move |(pod, _): &&mut (Pod, Life)| pod.uid == uid && !pod.terminating
        };
        match deed {
            Deed::Mark { mark, .. } => {
                if let Some((pod, _)) = self.pods.iter_mut().find(of(&mark.pod_uid)) {
                    pod.mark = Note::Says(mark.clone());
                    pod.undone = Note::Absent;
                    pod.cost = Some(COST_DRAINING);
                }
            }
            Deed::Undo { undone, .. } => {
                if let Some((pod, _)) = self.pods.iter_mut().find(of(&undone.pod_uid)) {
                    pod.mark = Note::Absent;
                    pod.undone = Note::Says(undone.clone());
                    pod.cost = None;
                }
            }
            Deed::Forget { uid, .. } => {
                if let Some((pod, _)) = self.pods.iter_mut().find(of(uid)) {
                    pod.mark = Note::Absent;
                    pod.undone = Note::Absent;
                    pod.cost = None;
                }
            }
            Deed::Last { uid, .. } => {
                if let Some((pod, _)) = self.pods.iter_mut().find(of(uid)) {
                    pod.cost = Some(COST_DRAINED);
                }
            }
            Deed::Cancel { uid, queues, .. } => {
                let outcome = self.tell(uid, |life| {
                    life.queues.retain(|queue| !queues.contains(queue));
                });
                self.memory.cancelled(uid, now, outcome);
            }
            Deed::Add { uid, queues, .. } => {
                let outcome = self.tell(uid, |life| {
                    let missing = queues.iter().filter(|queue| !life.queues.contains(queue));
                    let missing: Vec<String> = missing.cloned().collect();
                    life.queues.extend(missing);
                });
                self.memory.added(uid, now, outcome.is_ok());
            }
            Deed::Restore {
                uid, queues, by, ..
            } => self.restore(uid, queues, *by),
            Deed::Ask { uid, .. } => {
                let outcome = self.tell(uid, |life| Answer {
                    at: now,
                    queues: life.queues.clone(),
                    reserved: 0,
                    active: life.runs.len() as u64,
                });
                self.memory.answered(uid, now, outcome);
            }
            Deed::Lower(lowered) => {
                self.replicas = lowered.to;
                self.memory.lowered(lowered.clone());
            }
            Deed::Raise { to } => self.replicas = *to,
            Deed::Tell(told) => self.told.push(told.clone()),
        }
    }

    fn restore(&mut self, uid: &str, queues: &[String], by: Timestamp) {
        let outcome = self.tell(uid, |life| {
            if !life.ignores {
                life.queues.extend(queues.iter().cloned());
            }
        });
        let told = (queues.to_vec(), by);
        self.memory.restored(uid, self.now, told, outcome);
    }

    fn tell<T>(&mut self, uid: &str, tell: impl FnOnce(&mut Life) -> T) -> Result<T, String> {
        let found = self.pods.iter_mut().find(|(pod, _)| pod.uid == uid);
        match found {
            Some((_, life)) if life.answers && self.reachable.is_ok() => Ok(tell(life)),
            _ => Err("it does not answer".to_owned()),
        }
    }

    /// So many seconds, each with a step before it and the ReplicaSet after it; until everything is as it should be.
    pub(super) fn settles_within(&mut self, seconds: u32) -> u32 {
        for passed in 0..seconds {
            let step = self.step();
            self.reconcile();
            self.start();
            if step.deeds.is_empty() && self.replicas == self.target && self.is_quiet() {
                return passed;
            }
            self.second();
        }
        panic!(
            "{} replicas, {} asked for, after {seconds} s: {:?}",
            self.replicas, self.target, self.pods
        );
    }

    fn is_quiet(&self) -> bool {
        self.pods
            .iter()
            .all(|(pod, life)| !pod.mark.is_there() && !pod.terminating && !life.queues.is_empty())
    }
}

/// A pod's worker is on line.
fn start((pod, life): &mut (Pod, Life)) {
    pod.ready = true;
    pod.runs = true;
    pod.container = Some(format!("c-{}", pod.name));
    *life = Life {
        queues: vec![QUEUE.to_owned()],
        answers: true,
        ..Life::default()
    };
}
