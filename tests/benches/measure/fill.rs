//! An aggregator filled by a played inspector: tasks whose fields follow from their number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use celeriac_proto::v1::{Batch, Event};
use celeriac_tests::Aggregator;
use celeriac_tests::ingest::Attached;
use prost::Message as _;

/// Tasks of a batch: three events each, within the thousand of a real inspector's.
const TASKS_PER_BATCH: u64 = 300;
/// Batches sent ahead of acknowledgements.
const AHEAD: u64 = 8;

/// Fills aggregators.
pub(crate) struct Filler {
    inspector: Attached,
    sequence: u64,
    acknowledged: u64,
    next: u64,
    /// When the first task is received: an hour ago, so that none is kept in memory for late events.
    begin_micros: i64,
}

impl Filler {
    pub(crate) async fn open(aggregator: &Aggregator) -> Result<Self> {
        let server = format!("http://{}", aggregator.address());
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let begin = now.saturating_sub(Duration::from_hours(1));
        Ok(Self {
            inspector: Attached::open(&server, "filler", 1).await?,
            sequence: 0,
            acknowledged: 0,
            next: 0,
            begin_micros: i64::try_from(begin.as_micros())?,
        })
    }

    /// Adds tasks up to this number of all, and waits until they are on disk.
    pub(crate) async fn fill(&mut self, until: u64, finished: bool) -> Result<()> {
        while self.next < until {
            let end = (self.next + TASKS_PER_BATCH).min(until);
            let events = (self.next..end).flat_map(|number| self.events(number, finished));
            let events = events.map(|event| event.encode_to_vec().into()).collect();
            self.next = end;
            self.sequence += 1;
            let batch = Batch {
                sequence: self.sequence,
                events,
                ..Batch::default()
            };
            self.inspector.send(batch).await?;
            while self.acknowledged + AHEAD < self.sequence {
                self.acknowledged = self.inspector.acknowledgement().await?;
            }
        }
        while self.acknowledged < self.sequence {
            self.acknowledged = self.inspector.acknowledgement().await?;
        }
        Ok(())
    }

    fn events(&self, number: u64, finished: bool) -> Vec<Event> {
        let id = format!("{:08x}-0000-4000-8000-{number:012x}", spread(number) >> 32);
        let worker = format!("celery@worker-{}", spread(number) % 20);
        let event = |kind: &str, step: u64| Event {
            r#type: kind.to_owned(),
            hostname: worker.clone(),
            pid: Some(4711),
            clock: Some(number * 3 + step + 1),
            timestamp: Some(seconds(self.begin_micros)),
            received_micros: self.begin_micros
                + i64::try_from(number * 1_000 + step).unwrap_or_default(),
            uuid: Some(id.clone()),
            ..Event::default()
        };
        let mut events = vec![
            Event {
                name: Some(format!("shop.tasks.kind{}", spread(number) % 50)),
                args: Some(format!("('customer-{number}', {})", spread(number) % 1000)),
                kwargs: Some(format!("{{'order_id': {number}, 'dry_run': False}}")),
                root_id: Some(id.clone()),
                retries: Some(0),
                ..event("task-received", 0)
            },
            event("task-started", 1),
        ];
        if finished {
            let runtime =
                f64::from(u32::try_from(spread(number) % 10_000).unwrap_or_default()) / 1e3;
            events.push(if number.is_multiple_of(50) {
                Event {
                    exception: Some("ValueError('no such customer')".to_owned()),
                    traceback: Some("Traceback (most recent call last):\n  …".to_owned()),
                    ..event("task-failed", 2)
                }
            } else {
                Event {
                    result: Some("{'sent': True}".to_owned()),
                    runtime: Some(runtime),
                    ..event("task-succeeded", 2)
                }
            });
        }
        events
    }
}

/// Spreads consecutive numbers over all 64 bits.
fn spread(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of today take 51 bits"
)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
