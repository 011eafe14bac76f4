//! A stream of events as it was on the wire, and the way it takes through inspector and edge into the fold.

use celeriac_aggregator::api::ingest::Decoder;
use celeriac_aggregator::state::{App, Changes, Input, Limits, Micros};
use celeriac_inspector::collect::Observation;
use celeriac_inspector::uplink::Events;
use celeriac_inspector::uplink::convert::{Source, batches};
use celeriac_inspector::wire::event::decode_events;
use celeriac_inspector::wire::rejection::Rejections;
use serde_json::Value;

/// One event, on its way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    /// As it is on the wire.
    pub(crate) event: Value,
    /// When it is received, by our clock.
    pub(crate) received: Micros,
    /// Which life of its sender's process sent it: what only the maker of the stream knows.
    pub(crate) life: u32,
}

impl Sent {
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of today take 51 bits"
    )]
    pub(crate) fn received_seconds(&self) -> f64 {
        self.received as f64 / 1e6
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.event[field].as_str().unwrap_or_default()
    }
}

/// The fold's inputs for a stream, by the code that a message of a real broker goes through.
pub(crate) fn inputs(stream: &[Sent]) -> Vec<(Micros, Input)> {
    let mut events = Events::default();
    for sent in stream {
        let body = sent.event.to_string();
        let (mut decoded, mut rejects) = (Vec::new(), Rejections::default());
        decode_events(body.as_bytes(), sent.received, &mut decoded, &mut rejects);
        let [event] = decoded.as_slice() else {
            panic!("not read: {body}");
        };
        events.push(event);
    }
    let seen = Observation {
        events,
        ..Observation::default()
    };
    let source = Source {
        app: "shop".to_owned(),
        endpoint: "redis://h:6379/0".to_owned(),
        transport: "redis",
    };
    let mut decoder = Decoder::default();
    let pieces = batches(&source, seen).into_iter();
    let inputs: Vec<Input> = pieces
        .flat_map(|piece| {
            let batch = decoder.batch(piece.batch);
            batch.expect("encoded by the product").inputs
        })
        .collect();
    assert_eq!(inputs.len(), stream.len());
    stream
        .iter()
        .map(|sent| sent.received)
        .zip(inputs)
        .collect()
}

/// The fold of a stream, with memory for all of it.
pub(crate) fn fold(stream: &[Sent]) -> App {
    let mut app = App::new("shop".into(), Limits::default());
    let mut changes = Changes::default();
    for (received, input) in inputs(stream) {
        app.apply(received, input, &mut changes);
    }
    app
}
