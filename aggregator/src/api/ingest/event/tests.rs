use celeriac_proto::v1;
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// The same event as the generated type reads it.
fn of_prost(event: &v1::Event) -> Event<'_> {
    Event {
        kind: &event.r#type,
        hostname: &event.hostname,
        pid: event.pid,
        clock: event.clock,
        timestamp: event.timestamp,
        received_micros: event.received_micros,
        uuid: event.uuid.as_deref(),
        name: event.name.as_deref(),
        args: event.args.as_deref(),
        kwargs: event.kwargs.as_deref(),
        root_id: event.root_id.as_deref(),
        parent_id: event.parent_id.as_deref(),
        retries: event.retries,
        eta: event.eta.as_deref(),
        expires: event.expires.as_deref(),
        queue: event.queue.as_deref(),
        exchange: event.exchange.as_deref(),
        routing_key: event.routing_key.as_deref(),
        result: event.result.as_deref(),
        runtime: event.runtime,
        exception: event.exception.as_deref(),
        traceback: event.traceback.as_deref(),
        terminated: event.terminated,
        signum: event.signum.as_deref(),
        expired: event.expired,
        requeue: event.requeue,
        freq: event.freq,
        active: event.active,
        processed: event.processed,
        loadavg: event.loadavg.clone(),
        sw_ident: event.sw_ident.as_deref(),
        sw_ver: event.sw_ver.as_deref(),
        sw_sys: event.sw_sys.as_deref(),
        custom: borrowed(&event.custom)
            .map(|(name, value)| (name, value.as_str()))
            .collect(),
        truncated: borrowed(&event.truncated)
            .map(|(name, bytes)| (name, *bytes))
            .collect(),
        sanitized: event.sanitized.iter().map(String::as_str).collect(),
    }
}

fn borrowed<V>(map: &std::collections::HashMap<String, V>) -> impl Iterator<Item = (&str, &V)> {
    map.iter().map(|(name, value)| (name.as_str(), value))
}

/// An event with every field set, `salt` in all of them.
fn full(salt: u64) -> v1::Event {
    let text = |name: &str| format!("{name} \u{e9} {salt}");
    let some = |name: &str| Some(text(name));
    let double = f64::from_bits(salt.rotate_left(20) & !(1 << 62));
    v1::Event {
        r#type: text("type"),
        hostname: text("hostname"),
        pid: Some(salt),
        clock: Some(salt.rotate_left(1)),
        timestamp: Some(double),
        received_micros: salt.cast_signed(),
        uuid: some("uuid"),
        name: some("name"),
        args: some("args"),
        kwargs: some("kwargs"),
        root_id: some("root_id"),
        parent_id: some("parent_id"),
        retries: Some(salt.rotate_left(2).cast_signed()),
        eta: some("eta"),
        expires: some("expires"),
        queue: some("queue"),
        exchange: some("exchange"),
        routing_key: some("routing_key"),
        result: some("result"),
        runtime: Some(-double),
        exception: some("exception"),
        traceback: some("traceback"),
        terminated: Some(salt & 1 == 0),
        signum: some("signum"),
        expired: Some(salt & 2 == 0),
        requeue: Some(salt & 4 == 0),
        freq: Some(double / 2.0),
        active: Some(salt >> 1),
        processed: Some(salt >> 2),
        loadavg: vec![double, 0.5, 1.5],
        sw_ident: some("sw_ident"),
        sw_ver: some("sw_ver"),
        sw_sys: some("sw_sys"),
        custom: [("b", "1"), ("a", "2"), ("", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        truncated: [("args".to_owned(), salt), ("kwargs".to_owned(), 0)].into(),
        sanitized: vec![text("one"), String::new()],
    }
}

#[test]
fn what_is_absent_and_what_is_unknown_is_passed_over() {
    assert_eq!(Event::read(b""), Ok(Event::default()));
    // Fields 100 to 102: a number, eight bytes, four bytes; then field 1.
    let unknown = b"\xa0\x06\x05\xa9\x06xxxxxxxx\xb5\x06xxxx\x0a\x01t";
    let expected = v1::Event::decode(&unknown[..]).unwrap();
    assert_eq!(Event::read(unknown), Ok(of_prost(&expected)));
    assert_eq!(expected.r#type, "t");
}

#[test]
fn a_key_of_more_than_32_bits_is_none() {
    let key = b"\x88\x80\x80\x80\x10\x01";
    assert!(v1::Event::decode(&key[..]).is_err());
    assert_eq!(Event::read(key), Err(Malformed));
}

#[test]
fn load_averages_are_read_packed_and_one_by_one() {
    let single = b"\xf1\x01\0\0\0\0\0\0\xf0\x3f\xf1\x01\0\0\0\0\0\0\0\x40";
    assert_eq!(Event::read(single).unwrap().loadavg, [1.0, 2.0]);
}

proptest! {
    #[test]
    fn every_field_is_read_as_the_generated_type_reads_it(salt in any::<u64>()) {
        let event = full(salt);
        let bytes = event.encode_to_vec();
        prop_assert_eq!(Event::read(&bytes), Ok(of_prost(&event)));
    }

    /// Not everything that one accepts the other has to: the generated type reads groups. Where both read, they agree.
    #[test]
    fn damaged_events_are_read_alike_or_refused(
        salt in any::<u64>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = full(salt).encode_to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(2 * bytes.len()).max(1));
        let generated = v1::Event::decode(&bytes[..]);
        match (&generated, Event::read(&bytes)) {
            (Ok(generated), Ok(event)) => prop_assert_eq!(
                format!("{:?}", of_prost(generated)), format!("{event:?}")
            ),
            (Err(_), Ok(_)) => prop_assert!(false, "read though it is damaged"),
            (_, Err(Malformed)) => {}
        }
    }
}
