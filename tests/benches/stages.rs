//! (d) What one event costs in each stage of its way, and what it allocates: over the recorded events, one a message. The
//! mean is the figure: events differ.

use celeriac_aggregator::api::ingest::Decoder;
use celeriac_aggregator::state::{App, Changes, Input, Limits, Micros};
use celeriac_inspector::collect::Observation;
use celeriac_inspector::uplink::Events;
use celeriac_inspector::uplink::convert::{Source, batches};
use celeriac_inspector::wire::event::decode_events;
use celeriac_inspector::wire::message::{Frame, Opener};
use celeriac_inspector::wire::rejection::Rejections;
use celeriac_tests::paths::root;
use divan::AllocProfiler;
use divan::counter::ItemsCount;
use prost::Message as _;
use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[derive(Deserialize)]
struct Line {
    t: f64,
    payload: String,
}

/// The recording: when each message was received, and the message.
fn messages() -> Vec<(Micros, Frame)> {
    let path = root().join("tests/fixtures/redis-events.jsonl");
    let text = std::fs::read_to_string(path).expect("the recording is in the checkout");
    let messages = text.lines().map(|line| {
        let line: Line = serde_json::from_str(line).expect("a line of the recording");
        (micros(line.t), Frame::Envelope(line.payload.into()))
    });
    messages.collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "microseconds of today take 51 bits"
)]
fn micros(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}

/// Decodes a message, and adds its events, encoded.
fn decode(opener: &mut Opener, received: Micros, frame: &Frame, events: &mut Events) {
    let opened = opener.open(frame).expect("recorded from Celery");
    let mut decoded = Vec::new();
    decode_events(
        opened.body,
        received,
        &mut decoded,
        &mut Rejections::default(),
    );
    for event in &decoded {
        events.push(event);
    }
}

/// The events of the recording, and when each was received.
fn events() -> (Events, Vec<Micros>) {
    let (mut opener, mut events, mut times) = (Opener::default(), Events::default(), Vec::new());
    for (received, frame) in messages() {
        decode(&mut opener, received, &frame, &mut events);
        times.resize(events.len(), received);
    }
    (events, times)
}

fn source() -> Source {
    Source {
        app: "shop".to_owned(),
        endpoint: "redis://127.0.0.1:6379/0".to_owned(),
        transport: "redis",
    }
}

fn batch(events: Events) -> celeriac_proto::v1::Batch {
    let seen = Observation {
        events,
        ..Observation::default()
    };
    let piece = batches(&source(), seen).pop();
    piece.expect("events make a batch").batch
}

fn inputs(events: Events) -> Vec<Input> {
    let batch = Decoder::default().batch(batch(events));
    batch.expect("encoded by us").inputs
}

/// Envelope, base64 and JSON of all messages, into events as the contract has them.
#[divan::bench]
fn decode_message(bencher: divan::Bencher<'_, '_>) {
    let (messages, (decoded, _)) = (messages(), events());
    let counter = ItemsCount::new(decoded.len());
    bencher.counter(counter).bench_local(|| {
        let (mut opener, mut events) = (Opener::default(), Events::with_room_of(&decoded));
        for (received, frame) in &messages {
            decode(&mut opener, *received, frame, &mut events);
        }
        events
    });
}

/// A batch to bytes and back, its events as they are: between two processes, and to keep it until it is acknowledged.
#[divan::bench]
fn encode_and_decode_batch(bencher: divan::Bencher<'_, '_>) {
    let (events, times) = events();
    let batch = batch(events);
    bencher
        .counter(ItemsCount::new(times.len()))
        .bench_local(|| {
            let bytes = batch.encode_to_vec();
            celeriac_proto::v1::Batch::decode(bytes.as_slice())
        });
}

/// A batch into the fold's inputs, its events decoded.
#[divan::bench]
fn convert_to_inputs(bencher: divan::Bencher<'_, '_>) {
    let (events, times) = events();
    let bencher = bencher.counter(ItemsCount::new(times.len()));
    let bencher = bencher.with_inputs(|| (Decoder::default(), batch(events.clone())));
    bencher.bench_local_values(|(mut decoder, batch)| decoder.batch(batch).ok());
}

/// Inputs into state.
#[divan::bench]
fn fold(bencher: divan::Bencher<'_, '_>) {
    let (events, times) = events();
    let bencher = bencher
        .counter(ItemsCount::new(times.len()))
        .with_inputs(|| {
            let inputs: Vec<Input> = inputs(events.clone());
            (
                App::new("shop".into(), Limits::default()),
                Changes::default(),
                inputs,
            )
        });
    bencher.bench_local_values(|(mut app, mut changes, inputs)| {
        for (now, input) in times.iter().zip(inputs) {
            app.apply(*now, input, &mut changes);
        }
        (app, changes)
    });
}
