use super::*;

fn source() -> Source {
    Source {
        app: "shop".into(),
        endpoint: "redis://broker:6379/0".into(),
        transport: "redis",
    }
}

/// A batch of one event, of about `bytes`, that came in `messages` messages at `micros`.
fn piece(name: &str, bytes: usize, messages: u64, micros: i64) -> Piece {
    let event = v1::Event {
        r#type: name.to_owned(),
        args: Some("x".repeat(bytes)),
        ..v1::Event::default()
    };
    piece_of(
        v1::Batch {
            events: vec![event.encode_to_vec().into()],
            ..v1::Batch::default()
        },
        messages,
        micros,
    )
}

fn piece_of(batch: v1::Batch, messages: u64, micros: i64) -> Piece {
    Piece {
        bytes: batch.encoded_len(),
        batch,
        messages,
        from_micros: micros,
        to_micros: micros,
        receipt: None,
    }
}

fn outbox(bytes_max: usize) -> Outbox {
    Outbox::new(source(), 100, bytes_max)
}

/// Sends everything: sequence and event type of each batch.
fn send(outbox: &mut Outbox) -> Vec<(u64, String)> {
    std::iter::from_fn(|| outbox.take_next())
        .map(|batch| {
            let first = batch.events.first().map(|event| {
                let event = v1::Event::decode(&event[..]);
                event.expect("an event was put in").r#type
            });
            (
                batch.sequence,
                first.unwrap_or_else(|| format!("{} gap", batch.gaps.len())),
            )
        })
        .collect()
}

fn sent(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected
        .iter()
        .map(|(sequence, name)| (*sequence, (*name).to_owned()))
        .collect()
}

#[test]
fn batches_are_numbered_from_one_without_holes() {
    let mut outbox = outbox(10_000);
    for name in ["a", "b"] {
        assert_eq!(outbox.put(piece(name, 10, 1, 1)), Put::Kept);
    }
    assert_eq!(send(&mut outbox), sent(&[(1, "a"), (2, "b")]));
    outbox.put(piece("c", 10, 1, 1));
    assert_eq!(send(&mut outbox), sent(&[(3, "c")]));
    outbox.acknowledge(2);
    assert_eq!(outbox.len(), 1);
    outbox.put(piece("d", 10, 1, 1));
    assert_eq!(send(&mut outbox), sent(&[(4, "d")]));
    outbox.acknowledge(4);
    assert!(outbox.is_empty());
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn after_a_reconnect_everything_not_on_disk_is_sent_again() {
    let mut outbox = outbox(100_000);
    for number in 0..20 {
        outbox.put(piece(&format!("e{number}"), 10, 1, 1));
    }
    assert_eq!(send(&mut outbox).len(), 20);
    outbox.acknowledge(3);
    assert_eq!(outbox.resume(5), Resume::Continue);
    let again = send(&mut outbox);
    assert_eq!(again.len(), 15);
    assert_eq!(again[0], (6, "e5".to_owned()));
    assert_eq!(again[14], (20, "e19".to_owned()));
}

#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    let mut outbox = outbox(10_000);
    outbox.put(piece("a", 10, 1, 1));
    outbox.acknowledge(7);
    assert_eq!(send(&mut outbox), sent(&[(1, "a")]));
}

#[test]
fn an_aggregator_that_forgot_or_knows_too_much_gets_a_new_epoch() {
    let mut outbox = outbox(10_000);
    for name in ["a", "b", "c"] {
        outbox.put(piece(name, 10, 1, 1));
    }
    send(&mut outbox);
    outbox.acknowledge(2);
    assert_eq!(outbox.resume(0), Resume::NewEpoch);
    assert_eq!(outbox.resume(9), Resume::NewEpoch);
    outbox.renew(50);
    assert_eq!(
        outbox.epoch(),
        101,
        "an epoch is larger than the one before, whatever the clock"
    );
    assert_eq!(outbox.resume(0), Resume::Continue);
    assert_eq!(send(&mut outbox), sent(&[(1, "c")]));
}

#[test]
fn a_full_buffer_drops_the_newest_and_tells_of_one_gap() {
    let mut outbox = outbox(4_000);
    assert_eq!(outbox.put(piece("a", 1_500, 1, 10)), Put::Kept);
    assert_eq!(outbox.put(piece("b", 1_500, 1, 20)), Put::Kept);
    assert_eq!(outbox.put(piece("c", 1_500, 5, 30)), Put::Overflowed);
    assert_eq!(
        outbox.put(piece("d", 1, 7, 40)),
        Put::Dropped,
        "one episode, one gap"
    );
    assert!(outbox.bytes() <= 4_000);
    assert_eq!(send(&mut outbox), sent(&[(1, "a"), (2, "b")]));
    assert!(!outbox.is_empty(), "the gap is still to be told");
    outbox.acknowledge(1);
    let batch = outbox.take_next().expect("there is room for the gap");
    assert_eq!(batch.sequence, 3);
    let [gap] = batch.gaps.as_slice() else {
        panic!("one gap, not {:?}", batch.gaps)
    };
    assert_eq!(gap.dropped_messages, Some(12));
    assert_eq!(gap.cause(), v1::GapCause::Overflow);
    assert_eq!(gap.app, "shop");
    let nanos = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos));
    assert_eq!(nanos(gap.start_time), Some((0, 30_000)));
    assert_eq!(nanos(gap.end_time), Some((0, 40_000)));
    assert_eq!(outbox.put(piece("e", 10, 1, 50)), Put::Kept);
    assert_eq!(send(&mut outbox), sent(&[(4, "e")]));
}

#[test]
fn gaps_in_dropped_batches_are_kept() {
    let mut outbox = outbox(2_000);
    outbox.put(piece("a", 1_700, 1, 10));
    let reconnect = v1::Gap {
        cause: v1::GapCause::Reconnect.into(),
        ..v1::Gap::default()
    };
    let mut dropped = piece("b", 100, 0, 0);
    dropped.batch.gaps.push(reconnect.clone());
    assert_eq!(outbox.put(dropped), Put::Overflowed);
    send(&mut outbox);
    outbox.acknowledge(1);
    let batch = outbox.take_next().expect("there is room for the gap");
    assert_eq!(
        batch.gaps,
        [reconnect],
        "no message was dropped, so there is no other gap"
    );
}

#[test]
fn tiny_batches_are_bounded_too() {
    let mut outbox = outbox(16_000);
    for _ in 0..10_000 {
        outbox.put(piece("a", 0, 1, 1));
    }
    assert!(outbox.len() <= 100, "{} batches kept", outbox.len());
}

#[test]
fn standing_by_drops_everything_and_says_whether_numbers_are_spent() {
    let mut outbox = outbox(10_000);
    assert!(!outbox.discard(), "nothing was lost, so the numbers go on");
    outbox.put(piece("a", 10, 1, 1));
    send(&mut outbox);
    assert!(outbox.discard());
    outbox.acknowledge(1);
    assert!(outbox.is_empty());
    outbox.renew(200);
    outbox.put(piece("b", 10, 1, 1));
    assert_eq!(send(&mut outbox), sent(&[(1, "b")]));
}

#[test]
fn a_receipt_is_settled_with_the_batch_that_holds_its_messages() {
    let (mut receipts, settled) = crate::transport::receipt::Receipts::new();
    let settled = move || *settled.borrow();
    let mut outbox = outbox(10_000);
    outbox.put_receipt(receipts.next());
    assert_eq!(
        settled(),
        1,
        "nothing is kept, so nothing has to be waited for"
    );
    for name in ["a", "b"] {
        let piece = Piece {
            receipt: Some(receipts.next()),
            ..piece(name, 100, 1, 5)
        };
        outbox.put(piece);
    }
    outbox.put_receipt(receipts.next());
    outbox.acknowledge(2);
    assert_eq!(settled(), 1, "what was not sent cannot be on disk");
    send(&mut outbox);
    outbox.acknowledge(1);
    assert_eq!(settled(), 2);
    outbox.acknowledge(2);
    assert_eq!(settled(), 4);
}

#[test]
fn the_receipt_of_what_was_dropped_is_settled_with_the_gap_that_tells_of_it() {
    let (mut receipts, settled) = crate::transport::receipt::Receipts::new();
    let mut outbox = outbox(1_000);
    outbox.put(piece("kept", 500, 1, 5));
    let dropped = Piece {
        receipt: Some(receipts.next()),
        ..piece("dropped", 900, 1, 6)
    };
    assert_eq!(outbox.put(dropped), Put::Overflowed);
    send(&mut outbox);
    outbox.acknowledge(1);
    assert_eq!(*settled.borrow(), 0, "the gap is not on disk yet");
    send(&mut outbox);
    outbox.acknowledge(2);
    assert_eq!(*settled.borrow(), 1);
}

#[test]
fn what_is_discarded_is_not_settled() {
    let (mut receipts, settled) = crate::transport::receipt::Receipts::new();
    let mut outbox = outbox(1_000);
    outbox.put(Piece {
        receipt: Some(receipts.next()),
        ..piece("a", 100, 1, 5)
    });
    send(&mut outbox);
    outbox.discard();
    outbox.acknowledge(1);
    assert_eq!(*settled.borrow(), 0, "another inspector is given it");
}
