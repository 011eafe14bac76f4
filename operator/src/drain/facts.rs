//! What a step goes by: the pool as it is wanted, its Deployment and pods as they were just read, and its workers as the
//! aggregator knows them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment as Object, DeploymentSpec};

use super::pod::{CONTAINER, Pod};
use crate::autoscale::{Load, Member, Presence, Replicas};

/// A pool at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// How many workers there should be.
    pub target: u32,
    /// How long a worker that is to go is waited for; for ever when absent.
    pub timeout: Option<Duration>,
    /// Whether workers that cannot be asked go too, once that time is over. Not where the operator itself wants fewer.
    pub unasked_go: bool,
    /// Its Deployment.
    pub deployment: Deployment,
    /// Its pods, those on their way out among them.
    pub pods: Vec<Pod>,
    /// Its workers.
    pub workers: Workers,
}

/// A Deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployment {
    /// How many pods it was asked for.
    pub replicas: u32,
    /// Pods that it has, without those on their way out.
    pub total: u32,
    /// Those of them that are of the current template.
    pub updated: u32,
    /// Whether its controller has seen what was asked last.
    pub observed: bool,
    /// Its version: what is written holds only while it is this.
    pub version: String,
    /// The queues that its workers are started with; empty when it does not say.
    pub queues: Vec<String>,
}

impl Deployment {
    /// A Deployment as the API server has it.
    pub fn read(object: &Object) -> Self {
        let spec = object.spec.as_ref();
        let status = object.status.clone().unwrap_or_default();
        let count = |count: Option<i32>| u32::try_from(count.unwrap_or(0)).unwrap_or(0);
        Self {
            replicas: count(spec.map(|spec| spec.replicas.unwrap_or(1))),
            total: count(status.replicas),
            updated: count(status.updated_replicas),
            observed: status.observed_generation == object.metadata.generation,
            version: object.metadata.resource_version.clone().unwrap_or_default(),
            queues: spec.map(started_with).unwrap_or_default(),
        }
    }

    /// Whether pods are being replaced by those of another template.
    pub fn rolls(&self) -> bool {
        self.observed && self.updated < self.total
    }

    /// Whether it has what it was asked for, and nothing is on its way.
    pub fn is_settled(&self) -> bool {
        self.observed && self.updated == self.total && self.total == self.replicas
    }
}

/// The queues that the container that runs Celery names, as `build::worker` has it do. None, when more arguments change that.
fn started_with(spec: &DeploymentSpec) -> Vec<String> {
    let containers = spec.template.spec.as_ref().map(|pod| &pod.containers);
    let mut containers = containers.into_iter().flatten();
    let celery = containers.find(|one| one.name == CONTAINER);
    let arguments = celery.and_then(|one| one.args.as_ref());
    let about_queues = |argument: &&String| {
        let begins = |start: &&str| argument.starts_with(start);
        // Celery 4 takes long options cut short.
        ["-Q", "--q", "-X", "--exclude"].iter().any(begins)
    };
    let all = arguments.into_iter().flatten().filter(about_queues);
    let all: Vec<&String> = all.collect();
    let [only] = all.as_slice() else {
        return Vec::new();
    };
    let names = only.strip_prefix("--queues=").unwrap_or_default();
    // Kubernetes puts something else in the place of a variable.
    if names.is_empty() || names.contains("$(") {
        return Vec::new();
    }
    names.split(',').map(str::to_owned).collect()
}

/// What is known of the workers of a pool.
#[derive(Debug, Clone, PartialEq)]
pub enum Workers {
    /// Nobody can ever ask them, in words.
    Never(String),
    /// They cannot be asked now, in words.
    NotNow(String),
    /// By node name.
    Known(BTreeMap<String, Worker>),
}

impl Workers {
    /// One of them.
    pub fn get(&self, node: &str) -> Option<&Worker> {
        match self {
            Self::Known(workers) => workers.get(node),
            Self::Never(_) | Self::NotNow(_) => None,
        }
    }
}

/// A worker, as the aggregator knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Worker {
    /// Whether it is heard of.
    pub online: bool,
    /// Its process, as it names it.
    pub pid: Option<u64>,
    /// Which life of that.
    pub life: u64,
    /// Tasks it can run at a time.
    pub slots: Option<u64>,
    /// Tasks that run.
    pub active: Option<u64>,
    /// Tasks that wait in it for a slot.
    pub reserved: Option<u64>,
    /// Tasks that wait in it for their time.
    pub scheduled: Option<u64>,
    /// When it will be done with what runs.
    pub remainder: Option<Duration>,
    /// The queues it consumes, as it last said, and when that was.
    pub queues: Option<(Vec<String>, Timestamp)>,
    /// The queues that a person had it stop consuming, and when. `None` where nobody can tell.
    pub cancelled: Option<BTreeMap<String, Timestamp>>,
}

impl Worker {
    /// Whether nothing is known of it that it still has to do.
    pub fn seems_idle(&self) -> bool {
        self.active == Some(0) && self.reserved.unwrap_or(0) == 0
    }

    /// The queues it consumes, as far as it said so.
    pub fn consumed(&self) -> &[String] {
        self.queues.as_ref().map_or(&[], |(queues, _)| queues)
    }

    /// Whether a person had it stop consuming a queue after that time.
    pub fn was_to_cancel(&self, queue: &str, after: Timestamp) -> bool {
        let cancelled = self.cancelled.as_ref().and_then(|all| all.get(queue));
        cancelled.is_some_and(|cancelled| *cancelled > after)
    }

    /// What it has, if it is heard of and has said which queues it consumes.
    fn load(&self) -> Option<Load> {
        self.queues.as_ref().filter(|_| self.online)?;
        Some(Load {
            slots: self.slots.unwrap_or(1),
            active: self.active?,
            reserved: self.reserved.unwrap_or(0),
            scheduled: self.scheduled.unwrap_or(0),
            remainder: self.remainder,
        })
    }
}

impl Facts {
    /// Pods that are not on their way out.
    pub fn live(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| !pod.terminating)
    }

    /// Replicas that are too many.
    pub fn surplus(&self) -> u32 {
        self.deployment.replicas.saturating_sub(self.target)
    }

    /// The names of up to `count` pods with running workers that are to go next.
    pub fn victims(&self, count: u32) -> Vec<String> {
        let members = self.live().filter(|pod| pod.runs).map(|pod| Member {
            name: pod.name.clone(),
            presence: match self.workers.get(&pod.node()).and_then(Worker::load) {
                Some(load) => Presence::Known(load),
                None => Presence::Unknown,
            },
            draining: pod.mark.is_there().then_some(Duration::ZERO),
            undone: pod.undone.is_there(),
        });
        let replicas = Replicas {
            current: self.deployment.replicas,
            members: members.collect(),
        };
        crate::autoscale::victims(&replicas, count)
    }
}
