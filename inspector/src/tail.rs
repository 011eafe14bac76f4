//! An app's events on a terminal or in a pipe, as they happen. Needs no aggregator, asks no worker anything.

use std::io::{self, Write};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::args::Output;
use crate::config::TailConfig;
use crate::transport::amqp::AmqpOptions;
use crate::transport::broker::{Broker, NotSpoken};
use crate::transport::{Incoming, Subscription, Transport, TransportError};
use crate::wire::event::{Event, decode_events};
use crate::wire::message::{Frame, Opener};
use crate::wire::rejection::Rejections;

mod filter;
mod human;
mod json;

pub use filter::Filter;
use human::Names;

/// Messages taken at once, before what was printed is flushed.
const INBOX: usize = 256;

/// When nothing came for this long, what may be amiss is said once. Workers send a heartbeat every 2 s.
const QUIET: Duration = Duration::from_secs(10);

/// How long cleaning up the broker may take.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// Why nothing more is printed.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The broker is of a kind that is not spoken yet.
    #[error(transparent)]
    NotSpoken(#[from] NotSpoken),
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] TransportError),
    /// Events cannot be written.
    #[error("cannot write events")]
    Output(#[source] io::Error),
    /// The subscription ended by itself.
    #[error("the event subscription ended by itself")]
    Ended,
}

/// Prints events to `out` until `stop`, the count or the time of `config`. A reader that went away is no error.
///
/// # Errors
/// When the broker cannot be reached at first, or refuses for good, or events cannot be written.
pub async fn tail(
    config: &TailConfig,
    out: impl Write,
    stop: CancellationToken,
) -> Result<(), TailError> {
    let topology = config.names.topology(&config.broker);
    let transport = Broker::new(&config.broker, topology, &AmqpOptions::default())?;
    tail_over(config, &transport, out, stop).await
}

/// As [`tail`], over any transport.
///
/// # Errors
/// As [`tail`].
pub async fn tail_over<T: Transport>(
    config: &TailConfig,
    transport: &T,
    out: impl Write,
    stop: CancellationToken,
) -> Result<(), TailError> {
    let subscription = stop.child_token();
    let incoming = transport.subscribe(subscription.clone());
    let mut printer = Printer::new(config, out);
    let printed = match config.duration {
        None => printer.run(incoming, stop).await,
        Some(duration) => tokio::time::timeout(duration, printer.run(incoming, stop))
            .await
            .unwrap_or(Ok(())),
    };
    subscription.cancel();
    printer.say_what_was_not_read();
    // Nothing was made on the broker but the subscription, which ends with its connection.
    let _ = tokio::time::timeout(CLEAN_UP, transport.close()).await;
    match printed {
        Err(TailError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

struct Printer<'a, W> {
    config: &'a TailConfig,
    out: W,
    opener: Opener,
    rejections: Rejections,
    names: Names,
    line: Vec<u8>,
    printed: u64,
    messages: u64,
    was_live: bool,
    hinted: bool,
}

impl<'a, W: Write> Printer<'a, W> {
    fn new(config: &'a TailConfig, out: W) -> Self {
        Self {
            config,
            out,
            opener: Opener::default(),
            rejections: Rejections::default(),
            names: Names::default(),
            line: Vec::new(),
            printed: 0,
            messages: 0,
            was_live: false,
            hinted: false,
        }
    }

    async fn run(
        &mut self,
        mut incoming: Subscription,
        stop: CancellationToken,
    ) -> Result<(), TailError> {
        let mut inbox = Vec::with_capacity(INBOX);
        loop {
            let read = tokio::select! {
                // First, since the stop ends the subscription too.
                biased;
                () = stop.cancelled() => return Ok(()),
                read = tokio::time::timeout(QUIET, incoming.recv_many(&mut inbox, INBOX)) => read,
            };
            match read {
                Ok(0) => return Err(TailError::Ended),
                Ok(_) => {}
                Err(_) => self.hint(),
            }
            for one in inbox.drain(..) {
                if self.on_incoming(one)? {
                    return self.flush();
                }
            }
            self.flush()?;
        }
    }

    /// Takes in one item; true when enough was printed.
    fn on_incoming(&mut self, incoming: Incoming) -> Result<bool, TailError> {
        match incoming {
            Incoming::Message {
                frame,
                received_micros,
                receipt,
            } => {
                self.messages += 1;
                // What is printed needs no second delivery.
                if let Some(receipt) = receipt {
                    receipt.settle();
                }
                return self.on_message(&frame, received_micros);
            }
            Incoming::Live { kept, .. } => {
                if std::mem::replace(&mut self.was_live, true) && !kept {
                    tracing::warn!("events are received again; those in between were missed");
                } else {
                    tracing::info!(broker = %self.config.broker, "events are received");
                }
            }
            // Before the first connection it is better to end and say why than to try for ever.
            Incoming::Lost { error, .. } if !self.was_live || is_final(&error) => {
                return Err(error.into());
            }
            Incoming::Lost { error, .. } => {
                tracing::warn!(%error, "events are missed; trying again");
            }
            Incoming::Dropped { messages, .. } => {
                tracing::warn!(
                    messages,
                    "events are missed: they come faster than they are printed"
                );
            }
        }
        Ok(false)
    }

    fn on_message(&mut self, frame: &Frame, received_micros: i64) -> Result<bool, TailError> {
        let mut opener = std::mem::take(&mut self.opener);
        let mut events = Vec::new();
        match opener.open(frame) {
            Ok(opened) => {
                decode_events(
                    opened.body,
                    received_micros,
                    &mut events,
                    &mut self.rejections,
                );
            }
            Err(error) => {
                self.rejections
                    .add(error.reason(), 1, error.sample().map(str::to_owned));
            }
        }
        let mut enough = false;
        for event in &events {
            enough = self.on_event(event)?;
            if enough {
                break;
            }
        }
        drop(events);
        self.opener = opener;
        Ok(enough)
    }

    fn on_event(&mut self, event: &Event<'_>) -> Result<bool, TailError> {
        let name = self.names.name(event);
        if !self.config.filter.passes(event, name.as_deref()) {
            return Ok(false);
        }
        self.line.clear();
        match self.config.output {
            Output::Human => human::write(&mut self.line, event, name.as_deref()),
            Output::Json => json::write(&mut self.line, event),
        }
        self.out.write_all(&self.line).map_err(TailError::Output)?;
        self.printed += 1;
        Ok(self.config.count.is_some_and(|count| self.printed >= count))
    }

    fn flush(&mut self) -> Result<(), TailError> {
        self.out.flush().map_err(TailError::Output)
    }

    /// Nothing came for a while: says once what may be amiss.
    fn hint(&mut self) {
        if self.messages > 0 || std::mem::replace(&mut self.hinted, true) {
            return;
        }
        tracing::warn!(
            broker = %self.config.broker,
            "no events yet: are workers running on this broker and database? Task events need `celery worker -E` or \
             worker_send_task_events, renamed exchanges --event-exchange, a key prefix --transport-option global_keyprefix=…"
        );
    }

    fn say_what_was_not_read(&self) {
        for rejection in self.rejections.iter() {
            tracing::warn!(
                count = rejection.count,
                reason = rejection.reason,
                sample = rejection.sample,
                "could not be read"
            );
        }
    }
}

/// Whether trying again cannot help.
fn is_final(error: &TransportError) -> bool {
    matches!(
        error,
        TransportError::Credentials { .. }
            | TransportError::Forbidden { .. }
            | TransportError::NoSuchDatabase { .. }
    )
}

#[cfg(test)]
mod tests;
