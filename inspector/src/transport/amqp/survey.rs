//! Looks at queues: passive declares, which every user may make and which change nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::{Channel, Queue};
use parking_lot::Mutex;

use super::super::{DepthReading, QueueDepth, TransportError, now_micros};
use super::link::{Link, Refused};
use super::management::{QueueFacts, Told};
use crate::wire::topology::Topology;

/// Queues asked about at once.
const AT_ONCE: usize = 50;

/// A queue that is not there is asked about again after this: each question costs a channel.
const MISSING_FOR: Duration = Duration::from_secs(10);

/// Queues that were not there, and since when.
#[derive(Default)]
pub(super) struct Missing(Mutex<HashMap<String, Instant>>);

/// Ready messages and consumers of each queue that is there.
pub(super) async fn depths(
    link: &Link,
    missing: &Missing,
    queues: &[String],
) -> Result<DepthReading, TransportError> {
    let mut reading = DepthReading {
        read_micros: now_micros(),
        ..DepthReading::default()
    };
    let wanted = missing.without(queues);
    let mut channel: Option<Channel> = None;
    for chunk in wanted.chunks(AT_ONCE) {
        let found = look(link, &mut channel, chunk).await?;
        for (name, found) in chunk.iter().zip(found) {
            match found {
                Some(queue) => reading.queues.push(depth(name, &queue)),
                None => missing.add(name),
            }
        }
    }
    if let Some(channel) = channel {
        link.done(&channel).await;
    }
    Ok(reading)
}

/// All of them at once; one by one when one of them is not there, since that ends the channel.
async fn look(
    link: &Link,
    channel: &mut Option<Channel>,
    names: &[&String],
) -> Result<Vec<Option<Queue>>, TransportError> {
    let together = opened(link, channel).await?;
    let asked = names.iter().map(|name| link.find_queue(&together, name));
    let answers = join_all(asked).await;
    let all: Result<Vec<_>, Refused> = answers.into_iter().collect();
    if let Ok(found) = all
        && found.iter().all(Option::is_some)
    {
        return Ok(found);
    }
    *channel = None;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let alone = opened(link, channel).await?;
        let queue = link.find_queue(&alone, name).await;
        let queue = queue.map_err(|refused| link.explain("a queue's depth", &refused))?;
        if queue.is_none() {
            *channel = None;
        }
        found.push(queue);
    }
    Ok(found)
}

async fn opened(link: &Link, channel: &mut Option<Channel>) -> Result<Channel, TransportError> {
    if let Some(open) = channel.as_ref().filter(|open| open.status().connected()) {
        return Ok(open.clone());
    }
    let open = link.channel().await?;
    *channel = Some(open.clone());
    Ok(open)
}

fn depth(name: &str, queue: &Queue) -> QueueDepth {
    QueueDepth {
        name: name.to_owned(),
        ready: vec![(0, queue.message_count().into())],
        consumers: Some(queue.consumer_count().into()),
        ..QueueDepth::default()
    }
}

/// Adds what only management tells, and leaves out streams, which have no depth.
pub(super) fn complete(reading: &mut DepthReading, told: &Told, topology: &Topology) {
    let is_stream = |name: &str| told.queues.get(name).is_some_and(QueueFacts::is_stream);
    reading.queues.retain(|queue| !is_stream(&queue.name));
    for queue in &mut reading.queues {
        if let Some(facts) = told.queues.get(&queue.name) {
            queue.unacked = facts.unacked;
            queue.oldest_micros = facts.head_seconds.map(|seconds| seconds * 1_000_000);
        }
    }
    let of_tasks = told
        .queues
        .iter()
        .filter(|(name, _)| topology.holds_tasks(name));
    let unacked: Option<u64> = of_tasks.map(|(_, facts)| facts.unacked).sum();
    reading.unacked_total = unacked;
}

impl Missing {
    fn without<'a>(&self, queues: &'a [String]) -> Vec<&'a String> {
        let mut missing = self.0.lock();
        missing.retain(|_, since| since.elapsed() < MISSING_FOR);
        queues
            .iter()
            .filter(|name| !missing.contains_key(*name))
            .collect()
    }

    fn add(&self, name: &str) {
        self.0.lock().insert(name.to_owned(), Instant::now());
    }
}
