//! What workers answered, from the reply queue to snapshots.

use std::time::Instant;

use super::{Collector, wall_micros};
use crate::collect::conversation::{Ended, Heard};
use crate::collect::look::{Answer, Seen};
use crate::wire::message::Frame;
use crate::wire::pidbox::Reply;

impl Collector {
    /// Takes in replies as they were in the reply queue.
    pub(super) fn on_replies(&mut self, now: Instant, frames: &[Frame]) {
        let received_micros = wall_micros();
        for frame in frames {
            let reply = match self.opener.open(frame) {
                Ok(opened) => Reply::read(&opened).map_err(|error| (error.reason(), None)),
                Err(error) => Err((error.reason(), error.sample().map(str::to_owned))),
            };
            match reply {
                Ok(reply) => self.on_reply(now, received_micros, &reply),
                Err((reason, sample)) => self.on_unread_reply(now, frame, reason, sample),
            }
        }
    }

    fn on_unread_reply(
        &mut self,
        now: Instant,
        frame: &Frame,
        reason: &'static str,
        sample: Option<String>,
    ) {
        self.intake.reject(reason, sample);
        let ticket = frame.origin().ticket.unwrap_or_default();
        if let Some(ended) = self.conversations.on_unread(&ticket, reason) {
            self.on_ended(now, &ended);
        }
    }

    fn on_reply(&mut self, now: Instant, received_micros: i64, reply: &Reply) {
        if self.on_command_reply(now, received_micros, reply) {
            return;
        }
        let ticket = reply.ticket.as_deref().unwrap_or_default();
        let hostname = reply.hostname.as_str();
        match self.conversations.on_reply(ticket, hostname) {
            Heard::Foreign | Heard::Double => {
                self.metrics.stray_replies.inc();
            }
            // Too late for its look; still the worker answers.
            Heard::Late => {
                self.metrics.stray_replies.inc();
                self.roster.on_answer(now, hostname);
            }
            Heard::Answer {
                number,
                question,
                ended,
            } => {
                let sighting = self.roster.on_answer(now, hostname);
                self.plan
                    .on_sighting(now, &mut self.roster, hostname, sighting);
                let answer = question.read(reply);
                self.learn(now, hostname, &answer);
                let seen =
                    self.looks
                        .on_answer(number, hostname, question, received_micros, answer);
                if let Some(seen) = seen {
                    self.on_seen(now, seen);
                }
                if let Some(ended) = ended {
                    self.on_ended(now, &ended);
                }
            }
        }
    }

    /// Keeps what the collector itself needs of an answer.
    fn learn(&mut self, now: Instant, hostname: &str, answer: &Answer) {
        match answer {
            Answer::Stats(stats) => {
                if let Some(pid) = stats.pid {
                    let sighting = self.roster.on_pid(hostname, pid);
                    self.plan
                        .on_sighting(now, &mut self.roster, hostname, sighting);
                }
            }
            Answer::Queues(queues) => {
                let names = queues.iter().map(|queue| queue.name.clone()).collect();
                self.queues.on_consumed(hostname, names);
            }
            _ => {}
        }
    }

    /// A request waits no longer.
    pub(super) fn on_ended(&mut self, now: Instant, ended: &Ended) {
        for node in &ended.silent {
            if let Some(reason) = ended.unread {
                self.intake.answered_by(reason, node);
            }
        }
        for seen in self
            .looks
            .on_ended(ended.number, ended.question, &ended.silent)
        {
            self.on_seen(now, seen);
        }
        self.plan.on_ended();
    }

    /// A worker's part in a look is over.
    pub(super) fn on_seen(&mut self, now: Instant, seen: Seen) {
        self.roster
            .on_look_ended(now, &seen.node, seen.answered, seen.unanswered);
        if let Some(snapshot) = seen.snapshot {
            self.metrics.on_snapshot();
            self.pending.snapshots.push(snapshot);
        }
    }
}
