//! The body of an event message, in any serializer. Of its events none has more than may be kept of one.
#![no_main]

use celeriac_inspector::wire::event::decode_events;
use celeriac_inspector::wire::message::{Frame, Opener};
use celeriac_inspector::wire::rejection::Rejections;
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 4] = [
    "application/json",
    "application/x-msgpack",
    "application/x-yaml",
    "application/data",
];

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else {
        return;
    };
    let content_type = TYPES[usize::from(*kind) % TYPES.len()];
    let frame = Frame::Properties {
        content_type: content_type.to_owned(),
        content_encoding: "utf-8".to_owned(),
        compression: None,
        ticket: None,
        hostname: None,
        routing_key: None,
        body: body.to_vec(),
    };
    let mut opener = Opener::default();
    let Ok(opened) = opener.open(&frame) else {
        return;
    };
    let (mut events, mut rejects) = (Vec::new(), Rejections::default());
    let count = decode_events(opened.body, 1, &mut events, &mut rejects);
    assert_eq!(count, events.len());
    for event in &events {
        assert!(!event.event_type.is_empty() && event.event_type.len() <= 1024);
        assert!(!event.hostname.is_empty() && event.hostname.len() <= 1024);
        assert!(event.custom.len() <= 32);
        assert!(
            event
                .custom
                .iter()
                .all(|(_, value)| value.len() <= 64 * 1024 + 2)
        );
    }
});
