//! The connection for commands: made on first use, made again after a loss.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::super::TransportError;
use super::link::{Dialer, Link, Speaker};
use crate::wire::topology::Topology;

/// Life of a reply list that nobody refreshes, seconds: longer than the answers of a busy worker take, short enough that
/// nothing gathers.
pub(super) const REPLY_LIFE_SECONDS: u64 = 60;

/// Keys looked at in one SCAN step, at least; a few hundred microseconds of the server.
const SCAN_COUNT: u32 = 1_000;

/// Between two SCAN steps, so that a large database is read at leisure: 50,000 keys a second.
const SCAN_PAUSE: Duration = Duration::from_millis(20);

/// The connection for commands.
pub(super) struct Session {
    dialer: Arc<Dialer>,
    topology: Arc<Topology>,
    link: Mutex<Option<Link>>,
    /// Reply lists of earlier processes have their end, or are being given one.
    swept: Arc<AtomicBool>,
}

impl Session {
    pub(super) fn new(dialer: Arc<Dialer>, topology: Arc<Topology>) -> Self {
        Self {
            dialer,
            topology,
            link: Mutex::new(None),
            swept: Arc::default(),
        }
    }

    /// A connection, an open one if there is one. Commands that are under way when it breaks fail; they are never sent
    /// again from here.
    pub(super) async fn speaker(&self) -> Result<Speaker, TransportError> {
        let mut slot = self.link.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| self.dialer.keeps(link)) {
            return Ok(link.speaker());
        }
        *slot = None;
        let link = self.dialer.dial(None).await?;
        let speaker = link.speaker();
        *slot = Some(link);
        if !self.swept.swap(true, Ordering::Relaxed) {
            let swept = Arc::clone(&self.swept);
            tokio::spawn(sweep(speaker.clone(), self.topology.reply_keys(), swept));
        }
        Ok(speaker)
    }

    pub(super) async fn close(&self) {
        if let Some(link) = self.link.lock().await.take() {
            link.shut().await;
        }
    }
}

/// Whether nobody took the turn in the last `every`; then it is taken. Who may not write the key is not held up by it.
pub(super) async fn turn(
    session: &Session,
    key: &str,
    every: Duration,
) -> Result<bool, TransportError> {
    let speaker = session.speaker().await?;
    let mut take = redis::cmd("SET");
    let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    take.arg(key).arg("").arg("NX").arg("PX").arg(millis);
    match speaker.ask::<Value>("SET", &take).await {
        Ok(taken) => Ok(taken != Value::Nil),
        Err(TransportError::Forbidden { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A walk through all keys that match, at leisure. A key may come twice.
pub(super) struct Scan<'a> {
    speaker: &'a Speaker,
    pattern: String,
    kind: &'static str,
    /// The server's cursor; `None` at the end.
    cursor: Option<u64>,
}

impl<'a> Scan<'a> {
    /// Over keys of one kind, such as `list`.
    pub(super) fn new(speaker: &'a Speaker, pattern: String, kind: &'static str) -> Self {
        Self {
            speaker,
            pattern,
            kind,
            cursor: Some(0),
        }
    }

    /// The next keys, possibly none; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, TransportError> {
        let Some(cursor) = self.cursor else {
            return Ok(None);
        };
        if cursor != 0 {
            sleep(SCAN_PAUSE).await;
        }
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(&self.pattern);
        step.arg("COUNT").arg(SCAN_COUNT).arg("TYPE").arg(self.kind);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.speaker.ask("SCAN", &step).await?;
        self.cursor = (next != 0).then_some(next);
        Ok(Some(keys))
    }
}

/// Gives an end to reply lists of earlier processes that were left without one: a worker that answers after such a list
/// has expired makes it anew, for ever. Lists in use have their end already.
async fn sweep(speaker: Speaker, pattern: String, swept: Arc<AtomicBool>) {
    if let Err(error) = end_orphans(&speaker, pattern).await {
        tracing::debug!(%error, "not all reply lists of earlier processes were looked at");
        swept.store(false, Ordering::Relaxed); // with the next connection, then
    }
}

async fn end_orphans(speaker: &Speaker, pattern: String) -> Result<(), TransportError> {
    let mut scan = Scan::new(speaker, pattern, "list");
    while let Some(keys) = scan.next().await? {
        let mut lives = redis::pipe();
        for key in &keys {
            lives.cmd("TTL").arg(key);
        }
        if lives.is_empty() {
            continue;
        }
        let lives: Vec<i64> = speaker.ask_all("TTL", &lives).await?;
        let mut ends = redis::pipe();
        for (key, _) in keys.iter().zip(lives).filter(|(_, life)| *life == -1) {
            ends.cmd("EXPIRE").arg(key).arg(REPLY_LIFE_SECONDS);
        }
        if !ends.is_empty() {
            let _: Vec<Value> = speaker.ask_all("EXPIRE", &ends).await?;
        }
    }
    Ok(())
}
