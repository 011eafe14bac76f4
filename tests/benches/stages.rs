//! (d) What one event costs in each stage of its way, and what it allocates: over the recorded events, one a message. The
//! mean is the figure: events differ.

use celeriac_aggregator::api::ingest::Decoder;
use celeriac_aggregator::state::{App, Changes, Input, Limits, Micros};
use celeriac_inspector::collect::Observation;
use celeriac_inspector::uplink::convert::{Source, batches};
use celeriac_inspector::wire::event::{Event, decode_events};
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

fn decode(opener: &mut Opener, received: Micros, frame: &Frame, events: &mut Vec<Event>) {
    let opened = opener.open(frame).expect("recorded from Celery");
    decode_events(opened.body, received, events, &mut Rejections::default());
}

fn events() -> Vec<Event> {
    let (mut opener, mut events) = (Opener::default(), Vec::new());
    for (received, frame) in messages() {
        decode(&mut opener, received, &frame, &mut events);
    }
    events
}

fn source() -> Source {
    Source {
        app: "shop".to_owned(),
        endpoint: "redis://127.0.0.1:6379/0".to_owned(),
        transport: "redis",
    }
}

fn batch(events: &[Event]) -> celeriac_proto::v1::Batch {
    let seen = Observation {
        events: events.to_vec(),
        ..Observation::default()
    };
    let piece = batches(&source(), seen).pop();
    piece.expect("events make a batch").batch
}

fn inputs(events: &[Event]) -> Vec<Input> {
    let batch = Decoder::default().batch(batch(events));
    batch.expect("encoded by us").inputs
}

/// Envelope, base64 and JSON of all messages, into events.
#[divan::bench]
fn decode_message(bencher: divan::Bencher<'_, '_>) {
    let messages = messages();
    let counter = ItemsCount::new(events().len());
    bencher.counter(counter).bench_local(|| {
        let (mut opener, mut events) = (Opener::default(), Vec::with_capacity(4_096));
        for (received, frame) in &messages {
            decode(&mut opener, *received, frame, &mut events);
        }
        events
    });
}

/// Events into a batch of the contract, each encoded.
#[divan::bench]
fn convert_to_batch(bencher: divan::Bencher<'_, '_>) {
    let (events, source) = (events(), source());
    let counter = ItemsCount::new(events.len());
    let seen = || Observation {
        events: events.clone(),
        ..Observation::default()
    };
    let bencher = bencher.counter(counter).with_inputs(seen);
    bencher.bench_local_values(|seen| batches(&source, seen));
}

/// A batch to bytes and back, its events as they are: between two processes, and to keep it until it is acknowledged.
#[divan::bench]
fn encode_and_decode_batch(bencher: divan::Bencher<'_, '_>) {
    let events = events();
    let batch = batch(&events);
    bencher
        .counter(ItemsCount::new(events.len()))
        .bench_local(|| {
            let bytes = batch.encode_to_vec();
            celeriac_proto::v1::Batch::decode(bytes.as_slice())
        });
}

/// A batch into the fold's inputs, its events decoded.
#[divan::bench]
fn convert_to_inputs(bencher: divan::Bencher<'_, '_>) {
    let events = events();
    let bencher = bencher.counter(ItemsCount::new(events.len()));
    let bencher = bencher.with_inputs(|| (Decoder::default(), batch(&events)));
    bencher.bench_local_values(|(mut decoder, batch)| decoder.batch(batch).ok());
}

/// Inputs into state.
#[divan::bench]
fn fold(bencher: divan::Bencher<'_, '_>) {
    let events = events();
    let times: Vec<Micros> = events.iter().map(|event| event.received_micros).collect();
    let bencher = bencher
        .counter(ItemsCount::new(events.len()))
        .with_inputs(|| {
            let inputs: Vec<Input> = inputs(&events);
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
