use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::transport::Incoming;
use crate::wire::message::Frame;

const PATTERN: &str = "/0.celeryev/*";

fn pmessage(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        ">4\r\n$8\r\npmessage\r\n${}\r\n{PATTERN}\r\n$1\r\nc\r\n${}\r\n",
        PATTERN.len(),
        payload.len()
    );
    [head.as_bytes(), payload, b"\r\n"].concat()
}

fn confirmation(pattern: &str) -> Vec<u8> {
    let length = pattern.len();
    format!(">3\r\n$10\r\npsubscribe\r\n${length}\r\n{pattern}\r\n:1\r\n").into_bytes()
}

/// What the library reads and what the inbox gets, when a server sends `bytes` in parts of a size, and closes.
async fn sent(bytes: &[u8], part: usize, empties: bool) -> (Vec<u8>, Vec<Incoming>) {
    let inbox = Arc::new(Inbox::default());
    let patterns = EventPatterns {
        expected: PATTERN.to_owned(),
        older: None,
        also: Vec::new(),
    };
    let messages = Arc::new(Messages::new(Arc::clone(&inbox), &patterns));
    let (client, mut server) = duplex(part);
    let mut tap = Tap::new(client, messages, empties);
    let send = async {
        server.write_all(bytes).await.expect("the client reads");
        drop(server);
    };
    let mut rest = Vec::new();
    let (read, ()) = tokio::join!(tap.read_to_end(&mut rest), send);
    read.expect("a pipe in memory does not fail");
    let mut incoming = Vec::new();
    inbox.take_many(&mut incoming, usize::MAX);
    (rest, incoming)
}

fn payload(incoming: &Incoming) -> Option<&[u8]> {
    match incoming {
        Incoming::Message {
            frame: Frame::Envelope(payload),
            ..
        } => Some(payload),
        _ => None,
    }
}

#[tokio::test]
async fn the_library_gets_all_but_messages_and_the_inbox_nothing_else() {
    let hello = b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n";
    let bytes = [
        hello.to_vec(),
        confirmation("other*"),
        confirmation(PATTERN),
        pmessage(b"one"),
        b"+PONG\r\n".to_vec(),
        pmessage(b"two"),
    ]
    .concat();
    let rest_expected = [
        hello.to_vec(),
        confirmation("other*"),
        confirmation(PATTERN),
        b"+PONG\r\n".to_vec(),
    ]
    .concat();
    for (part, empties) in [(1, false), (7, true), (64 * 1024, true)] {
        let (rest, incoming) = sent(&bytes, part, empties).await;
        assert_eq!(rest, rest_expected);
        let [Incoming::Live { .. }, one, two] = incoming.as_slice() else {
            panic!("{incoming:?}");
        };
        assert_eq!(payload(one), Some(b"one".as_slice()));
        assert_eq!(payload(two), Some(b"two".as_slice()));
    }
}

#[tokio::test]
async fn messages_of_any_size_come_whole() {
    let large: Vec<u8> = (0..=250).cycle().take(3 * READ_BYTES).collect();
    let bytes = [pmessage(b"before"), pmessage(&large), pmessage(b"after")].concat();
    let (rest, incoming) = sent(&bytes, 10_000, false).await;
    assert!(rest.is_empty());
    let payloads: Vec<_> = incoming.iter().filter_map(payload).collect();
    assert_eq!(payloads, [b"before".as_slice(), &large, b"after"]);
}

#[tokio::test]
async fn a_stream_waits_for_company_and_loses_nothing() {
    let payloads: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let bytes: Vec<u8> = payloads
        .iter()
        .flat_map(|payload| pmessage(payload.as_bytes()))
        .collect();
    // As a socket gives it: 30 readings of what came meanwhile.
    let begin = Instant::now();
    let (_, incoming) = sent(&bytes, bytes.len() / 30, true).await;
    let waited = begin.elapsed();
    let came: Vec<_> = incoming.iter().filter_map(payload).collect();
    let expected: Vec<_> = payloads.iter().map(String::as_bytes).collect();
    assert_eq!(came, expected);
    assert!(waited >= 20 * COMPANY, "{waited:?}");
}

#[tokio::test]
async fn what_is_not_understood_is_the_librarys_to_judge_and_ends_the_connection() {
    let bytes = [
        pmessage(b"one"),
        b"HTTP/1.1 400\r\n".to_vec(),
        pmessage(b"two"),
    ]
    .concat();
    let (rest, incoming) = sent(&bytes, 64 * 1024, true).await;
    assert!(rest.starts_with(b"HTTP/1.1 400\r\n"));
    assert_eq!(incoming.len(), 1);
    // What was cut short is passed on as it is.
    let (rest, incoming) = sent(b"$5\r\nab", 64 * 1024, true).await;
    assert_eq!(rest, b"$5\r\nab");
    assert!(incoming.is_empty());
}
