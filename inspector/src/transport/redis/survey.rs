//! What can be read of queues without asking a worker: depths, names, and the server's own name.

use std::collections::BTreeSet;

use super::super::{DepthReading, QueueDepth, TransportError};
use super::now_micros;
use super::session::{Scan, Session};
use crate::wire::topology::Topology;

/// Queues whose depths are asked for at once: 2,000 LLEN with the default priority steps, about a millisecond of the server.
const QUEUES_AT_ONCE: usize = 500;

/// Sets of bindings that are read at once.
const SETS_AT_ONCE: usize = 100;

/// LLEN of every list of every queue, and HLEN of what is not acknowledged.
pub(super) async fn depths(
    session: &Session,
    topology: &Topology,
    queues: &[String],
) -> Result<DepthReading, TransportError> {
    let speaker = session.speaker().await?;
    let mut reading = DepthReading {
        read_micros: now_micros(),
        ..DepthReading::default()
    };
    for chunk in queues.chunks(QUEUES_AT_ONCE) {
        let mut commands = redis::pipe();
        let keys: Vec<Vec<(i32, String)>> = chunk
            .iter()
            .map(|queue| topology.queue_keys(queue))
            .collect();
        for (_, key) in keys.iter().flatten() {
            commands.cmd("LLEN").arg(key);
        }
        let lengths: Vec<u64> = speaker.ask_all("LLEN", &commands).await?;
        let mut lengths = lengths.into_iter();
        for (queue, keys) in chunk.iter().zip(&keys) {
            let ready = keys
                .iter()
                .map(|(step, _)| *step)
                .zip(lengths.by_ref().take(keys.len()))
                .collect();
            reading.queues.push(QueueDepth {
                name: queue.clone(),
                ready,
                ..QueueDepth::default()
            });
        }
    }
    if let Some(key) = topology.unacked_key() {
        reading.unacked_total = Some(speaker.ask("HLEN", redis::cmd("HLEN").arg(key)).await?);
    }
    Ok(reading)
}

/// The task queues that exchanges are bound to, sorted.
pub(super) async fn discover(
    session: &Session,
    topology: &Topology,
) -> Result<Vec<String>, TransportError> {
    let speaker = session.speaker().await?;
    let mut queues = BTreeSet::new();
    let carries_tasks = |key: &&Vec<u8>| {
        let key = std::str::from_utf8(key).ok();
        let exchange = key.and_then(|key| topology.binding_exchange(key));
        exchange.is_some_and(|exchange| topology.carries_tasks(exchange))
    };
    let mut scan = Scan::new(&speaker, topology.binding_keys(), "set");
    while let Some(keys) = scan.next().await? {
        let sets: Vec<&Vec<u8>> = keys.iter().filter(carries_tasks).collect();
        for chunk in sets.chunks(SETS_AT_ONCE) {
            let mut commands = redis::pipe();
            for key in chunk {
                commands.cmd("SMEMBERS").arg(key);
            }
            let members: Vec<Vec<Vec<u8>>> = speaker.ask_all("SMEMBERS", &commands).await?;
            let members = members
                .iter()
                .flatten()
                .filter_map(|member| std::str::from_utf8(member).ok());
            let bound = members
                .filter_map(|member| topology.binding(member))
                .map(|binding| binding.queue);
            queues.extend(
                bound
                    .filter(|queue| topology.holds_tasks(queue))
                    .map(str::to_owned),
            );
        }
    }
    Ok(queues.into_iter().collect())
}

/// Such as `redis 7.0.15`.
pub(super) async fn version(session: &Session) -> Result<String, TransportError> {
    let speaker = session.speaker().await?;
    let hello = speaker.hello().await?;
    let field = |name: &str| hello.get(name).map_or("unknown", String::as_str);
    Ok(format!("{} {}", field("server"), field("version")))
}
