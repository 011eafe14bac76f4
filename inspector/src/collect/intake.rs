//! From messages to batches of events: opens, decodes, counts what cannot be read, and says when a batch is due. Reads no
//! clock and sends nothing.

use std::time::{Duration, Instant};

use crate::wire::event::{Event, decode_events};
use crate::wire::message::{Frame, Opener, Origin, Unreadable};
use crate::wire::rejection::Rejections;

use super::observation::Observation;
use crate::transport::Receipt;
use crate::uplink::Events;

/// Events in one batch at most.
pub const BATCH_EVENTS_MAX: usize = 1_000;

/// Message bytes in one batch at most, before the last message is added.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// How long an event waits for others at most. A batch costs the aggregator a commit, so a steady stream is cut to 50
/// batches a second; after a pause longer than this the first event does not wait at all.
pub const BATCH_WAIT: Duration = Duration::from_millis(20);

/// The batch being filled, and totals since the start.
#[derive(Debug)]
pub struct Intake {
    opener: Opener,
    batch: Observation,
    bytes: usize,
    flushed: Option<Instant>,
    rejections: Rejections,
    unread: Option<String>,
    messages: u64,
    events: u64,
}

impl Default for Intake {
    fn default() -> Self {
        Self::new()
    }
}

impl Intake {
    /// Nothing read.
    pub fn new() -> Self {
        Self {
            opener: Opener::default(),
            batch: Observation::default(),
            bytes: 0,
            flushed: None,
            rejections: Rejections::default(),
            unread: None,
            messages: 0,
            events: 0,
        }
    }

    /// Takes in a message, and shows each event in it.
    pub fn on_message(
        &mut self,
        frame: &Frame,
        received_micros: i64,
        mut show: impl FnMut(&Event<'_>),
    ) {
        if self.batch.messages == 0 {
            self.batch.from_micros = received_micros;
        }
        self.messages += 1;
        self.batch.messages += 1;
        self.batch.to_micros = received_micros;
        self.bytes += frame.size();
        match self.opener.open(frame) {
            Ok(opened) => {
                // Most messages hold one.
                let mut events = Vec::with_capacity(1);
                let rejections = &mut self.rejections;
                decode_events(opened.body, received_micros, &mut events, rejections);
                for event in &events {
                    self.batch.events.push(event);
                    show(event);
                }
                self.events += events.len() as u64;
            }
            Err(error) => self.on_unreadable(frame, &error),
        }
    }

    /// The last message is to be settled once the batch is safe.
    pub fn owes(&mut self, receipt: Option<Receipt>) {
        if receipt.is_some() {
            self.batch.receipt = receipt;
        }
    }

    fn on_unreadable(&mut self, frame: &Frame, error: &Unreadable) {
        self.reject(error.reason(), error.sample().map(str::to_owned));
        let Origin {
            hostname: Some(node),
            routing_key,
            ..
        } = frame.origin()
        else {
            return;
        };
        self.rejections.sent_by(error.reason(), &node);
        // `task-sent` is a client's.
        let by_worker = routing_key.is_some_and(|key| key != "task.sent");
        self.unread = by_worker.then_some(node);
    }

    /// Counts something that could not be read.
    pub fn reject(&mut self, reason: &'static str, sample: Option<String>) {
        self.rejections.add(reason, 1, sample);
    }

    /// Names a worker whose answer was counted under `reason`.
    pub fn answered_by(&mut self, reason: &str, node: &str) {
        self.rejections.answered_by(reason, node);
    }

    /// The worker whose events were not read, if the last message was such a one. Taken, so that it is told once.
    pub fn take_unread(&mut self) -> Option<String> {
        self.unread.take()
    }

    /// Whether anything is in the batch.
    pub fn is_begun(&self) -> bool {
        self.batch.messages > 0
    }

    /// Whether the batch takes no more.
    pub fn is_full(&self) -> bool {
        self.batch.events.len() >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// When the batch is to be flushed if it does not fill up before; `None` when there is nothing in it.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.is_begun().then(|| {
            self.flushed
                .map_or(now, |flushed| (flushed + BATCH_WAIT).max(now))
        })
    }

    /// The batch, and an empty one in its place.
    pub fn flush(&mut self, now: Instant) -> Observation {
        self.bytes = 0;
        self.flushed = Some(now);
        let next = Observation {
            events: Events::with_room_of(&self.batch.events),
            ..Observation::default()
        };
        std::mem::replace(&mut self.batch, next)
    }

    /// What could not be read since the start.
    pub fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    /// Messages read since the start.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Events read since the start.
    pub fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &str) -> Frame {
        Frame::Properties {
            content_type: "application/json".into(),
            content_encoding: "utf-8".into(),
            compression: None,
            ticket: None,
            hostname: None,
            routing_key: None,
            body: body.as_bytes().to_vec(),
        }
    }

    /// Takes in a message; how many events of it are shown.
    fn shown(intake: &mut Intake, frame: &Frame, received_micros: i64) -> usize {
        let mut events = 0;
        intake.on_message(frame, received_micros, |_| events += 1);
        events
    }

    const STARTED: &str = r#"{"type": "task-started", "hostname": "celery@w1", "uuid": "u"}"#;

    #[test]
    fn a_batch_keeps_order_and_times_and_begins_anew_after_a_flush() {
        let now = Instant::now();
        let mut intake = Intake::new();
        assert_eq!(intake.due(now), None);
        assert_eq!(shown(&mut intake, &frame(STARTED), 5), 1);
        let two = format!("[{STARTED}, {STARTED}]");
        assert_eq!(shown(&mut intake, &frame(&two), 7), 2);
        let batch = intake.flush(now);
        assert_eq!((batch.messages, batch.events.len()), (2, 3));
        assert_eq!((batch.from_micros, batch.to_micros), (5, 7));
        assert!(intake.flush(now).is_empty());
        assert_eq!((intake.messages(), intake.events()), (2, 3));
    }

    #[test]
    fn the_first_event_does_not_wait_and_a_stream_waits_for_company() {
        let now = Instant::now();
        let mut intake = Intake::new();
        shown(&mut intake, &frame(STARTED), 5);
        assert_eq!(intake.due(now), Some(now));
        intake.flush(now);
        shown(&mut intake, &frame(STARTED), 6);
        let soon = now + Duration::from_millis(1);
        assert_eq!(intake.due(soon), Some(now + BATCH_WAIT));
        assert_eq!(intake.due(now + 2 * BATCH_WAIT), Some(now + 2 * BATCH_WAIT));
    }

    #[test]
    fn a_batch_is_full_by_events_or_by_bytes() {
        let mut intake = Intake::new();
        let many = format!("[{}]", vec![STARTED; 400].join(","));
        for full in [false, false, true] {
            shown(&mut intake, &frame(&many), 5);
            assert_eq!(intake.is_full(), full);
        }
        intake.flush(Instant::now());
        let large = "x".repeat(BATCH_BYTES_MAX);
        shown(&mut intake, &frame(&large), 5);
        assert!(intake.is_full());
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_spoils_nothing() {
        let mut intake = Intake::new();
        shown(&mut intake, &frame("no json"), 5);
        shown(
            &mut intake,
            &frame(r#"[{"type": "task-started"}, {"type": "x"}]"#),
            5,
        );
        shown(&mut intake, &frame(STARTED), 6);
        assert_eq!(intake.rejections().total(), 3);
        let batch = intake.flush(Instant::now());
        assert_eq!((batch.messages, batch.events.len()), (3, 1));
    }
}
