use proptest::prelude::*;
use redis::{PushKind, Value};

use super::*;

/// Everything that comes of a stream that arrives in these parts; true at the end when it is foreign.
fn cut(parts: &[&[u8]]) -> (Vec<Piece>, bool) {
    let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::new());
    let mut pieces = Vec::new();
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match cutter.next(&mut buffer) {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => break,
                Err(Foreign) => return (pieces, true),
            }
        }
    }
    (pieces, false)
}

fn pmessage(pattern: &[u8], channel: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = b">4\r\n$8\r\npmessage\r\n".to_vec();
    for text in [pattern, channel, payload] {
        bytes.extend(format!("${}\r\n", text.len()).bytes());
        bytes.extend(text);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn message_piece(pattern: &'static [u8], payload: &'static [u8]) -> Piece {
    Piece::Message {
        pattern: Bytes::from_static(pattern),
        payload: Bytes::from_static(payload),
    }
}

/// What a connection that subscribes gets, with values of every type.
fn stream() -> (Vec<u8>, Vec<Piece>) {
    let others: [&'static [u8]; 14] = [
        b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*0\r\n",
        b"+OK\r\n",
        b"-NOPERM no\r\n",
        b">3\r\n$10\r\npsubscribe\r\n$3\r\n/0*\r\n:1\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"_\r\n",
        b",1.5\r\n",
        b"#t\r\n",
        b"(12345678901234567890123\r\n",
        b"|1\r\n+ttl\r\n:3\r\n*2\r\n~2\r\n:1\r\n:2\r\n=7\r\ntxt:one\r\n",
        b"!6\r\nERR no\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
    ];
    let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
    for other in others {
        bytes.extend(other);
        bytes.extend(pmessage(
            b"/0*",
            b"/0.celeryev/a",
            b">4\r\n$8\r\npmessage\r\n",
        ));
        bytes.extend(pmessage(b"", b"", b""));
        pieces.push(Piece::Other(Bytes::from_static(other)));
        pieces.push(message_piece(b"/0*", b">4\r\n$8\r\npmessage\r\n"));
        pieces.push(message_piece(b"", b""));
    }
    (bytes, pieces)
}

#[test]
fn a_stream_is_cut_alike_wherever_it_is_divided() {
    let (bytes, expected) = stream();
    assert_eq!(cut(&[&bytes]), (expected.clone(), false));
    for place in 1..bytes.len() {
        let (before, after) = bytes.split_at(place);
        assert_eq!(
            cut(&[before, after]),
            (expected.clone(), false),
            "at {place}"
        );
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(cut(&single), (expected, false));
}

#[test]
fn a_message_is_a_slice_of_what_was_read() {
    let mut buffer = BytesMut::from(pmessage(b"p", b"c", b"text").as_slice());
    let place = buffer.as_ptr().addr();
    let Ok(Some(Piece::Message { payload, .. })) = Cutter::default().next(&mut buffer) else {
        panic!("it is whole");
    };
    let within = payload.as_ptr().addr() - place;
    assert_eq!(within, pmessage(b"p", b"c", b"").len() - 4 + 2);
}

#[test]
fn of_a_payload_that_is_too_large_the_beginning_is_kept_and_the_next_message_comes() {
    for over in [1, 2, 1_000_000] {
        let payload = vec![b'x'; PAYLOAD_BYTES_MAX + over];
        let mut bytes = pmessage(b"p", b"c", &payload);
        bytes.extend(pmessage(b"p", b"c", b"next"));
        for part in [bytes.len(), 100_000] {
            let parts: Vec<&[u8]> = bytes.chunks(part).collect();
            let (pieces, foreign) = cut(&parts);
            assert!(!foreign);
            let [Piece::Message { payload, .. }, next] = pieces.as_slice() else {
                panic!("{} pieces", pieces.len());
            };
            assert_eq!(payload.len(), PAYLOAD_BYTES_MAX + 1);
            assert_eq!(*next, message_piece(b"p", b"next"));
        }
    }
    let largest = vec![b'x'; PAYLOAD_BYTES_MAX];
    let (pieces, _) = cut(&[&pmessage(b"p", b"c", &largest)]);
    assert!(matches!(&pieces[..], [Piece::Message { payload, .. }] if *payload == largest));
}

#[test]
fn what_a_large_message_lacks_is_known() {
    let bytes = pmessage(b"p", b"c", &b"x".repeat(100_000));
    let (head, rest) = bytes.split_at(60);
    let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::from(head));
    assert_eq!(cutter.next(&mut buffer), Ok(None));
    assert_eq!(cutter.missing(&buffer), rest.len());
}

#[test]
fn a_push_that_is_shorter_than_the_head_of_a_message_is_cut_when_it_is_there() {
    let push = b">1\r\n+a\r\n";
    let single: Vec<&[u8]> = push.chunks(1).collect();
    let (pieces, foreign) = cut(&single);
    assert!(!foreign);
    assert_eq!(pieces, [Piece::Other(Bytes::from_static(push))]);
}

#[test]
fn what_is_no_resp3_is_foreign_at_once() {
    for bytes in [
        b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
        b"$x\r\n",
        b"$\r\n",
        b"$-2\r\n",
        b"*99999999999999999999999\r\n",
        b">4\r\n$8\r\npmessage\r\n:1\r\n",
        b">4\r\n$8\r\npmessage\r\n$1\r\nppp",
        b">4\r\n$8\r\npmessage\r\n$1\rx",
        b"$00000000000000000000000000000000000001\r\n",
        b"$9999999\r\n",
    ] {
        let (pieces, foreign) = cut(&[b"+OK\r\n", bytes]);
        assert!(foreign, "{}", bytes.escape_ascii());
        assert_eq!(pieces.len(), 1);
    }
    let endless = [b"+".as_slice(), &vec![b'x'; ANSWER_BYTES_MAX]].concat();
    assert!(cut(&[&endless]).1);
}

#[test]
fn nesting_of_any_depth_is_counted() {
    let deep = [b"*1\r\n".repeat(100_000), b":1\r\n".to_vec()].concat();
    let (pieces, foreign) = cut(&[&deep]);
    assert!(!foreign);
    assert_eq!(pieces, [Piece::Other(deep.into())]);
}

/// Whether a piece is what the client library, whose parser is the oracle, reads at that place.
fn is_same(piece: &Piece, value: &Value) -> bool {
    match (piece, value) {
        (
            Piece::Message { pattern, payload },
            Value::Push {
                kind: PushKind::PMessage,
                data,
            },
        ) => {
            let text = |bytes: &Bytes| Value::BulkString(bytes.to_vec());
            data.len() == 3 && data[0] == text(pattern) && data[2] == text(payload)
        }
        (Piece::Other(bytes), _) => redis::parse_redis_value(bytes).is_ok_and(|own| own == *value),
        (Piece::Message { .. }, _) => false,
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        "[a-z ]{0,9}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        "ERR [a-z ]{0,9}".prop_map(|text| format!("-{text}\r\n").into_bytes()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| bulk(&bytes)),
        Just(b"$-1\r\n".to_vec()),
        Just(b"_\r\n".to_vec()),
        any::<bool>().prop_map(|is| if is { b"#t\r\n" } else { b"#f\r\n" }.to_vec()),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let many = prop::collection::vec(inner, 0..4);
        prop_oneof![
            many.clone().prop_map(|values| [
                format!("*{}\r\n", values.len()).into_bytes(),
                values.concat()
            ]
            .concat()),
            many.clone().prop_map(|values| [
                format!("~{}\r\n", values.len()).into_bytes(),
                values.concat()
            ]
            .concat()),
            many.prop_map(|values| {
                let pairs = values.len() / 2;
                [
                    format!("%{pairs}\r\n").into_bytes(),
                    values[..2 * pairs].concat(),
                ]
                .concat()
            }),
        ]
    })
}

fn published() -> impl Strategy<Value = Vec<u8>> {
    let text = || prop::collection::vec(any::<u8>(), 0..60);
    (text(), text(), text())
        .prop_map(|(pattern, channel, payload)| pmessage(&pattern, &channel, &payload))
}

proptest! {
    #[test]
    fn every_stream_is_cut_as_the_library_reads_it(
        values in prop::collection::vec(prop_oneof![value(), published()], 1..12),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = values.concat();
        let mut places: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
        places.push(0);
        places.push(bytes.len());
        places.sort_unstable();
        let parts: Vec<&[u8]> = places.windows(2).map(|two| &bytes[two[0]..two[1]]).collect();
        let (pieces, foreign) = cut(&parts);
        prop_assert!(!foreign);
        prop_assert_eq!(pieces.len(), values.len());
        let (mut library, mut reader) = (redis::Parser::new(), bytes.as_slice());
        for piece in &pieces {
            let value = library.parse_value(&mut reader).expect("these streams are RESP3");
            prop_assert!(is_same(piece, &value), "{piece:?} is not {value:?}");
        }
    }

    #[test]
    fn any_bytes_are_cut_without_loss_or_are_foreign(
        like_a_message in 0..=MESSAGE.len(),
        then in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [&MESSAGE[..like_a_message], &then].concat();
        let whole = cut(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let (pieces, foreign) = cut(&single);
        prop_assert_eq!(&pieces, &whole.0);
        prop_assert_eq!(foreign, whole.1);
    }

    #[test]
    fn damaged_streams_never_panic(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (mut bytes, _) = stream();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        cut(&[&bytes]);
    }
}
