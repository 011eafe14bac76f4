//! Control requests and the life of the reply list.

use std::time::{Duration, Instant};

use celeriac_inspector::transport::redis::RedisTransport;
use celeriac_inspector::transport::{Published, Transport, TransportError};
use celeriac_inspector::wire::message::Frame;

use super::server::{Server, run};
use super::{SOON, ping, transport, transport_with};

fn keys(client: &mut redis::Connection) -> Vec<String> {
    let mut keys: Vec<String> = run(client, &["KEYS", "*"]);
    keys.sort();
    keys
}

async fn taken(transport: &RedisTransport) -> Vec<String> {
    let frames = transport.take_replies().await.expect("the server answers");
    let text = |frame| match frame {
        Frame::Envelope(bytes) => {
            String::from_utf8(bytes.to_vec()).expect("the replies of these tests are text")
        }
        Frame::Properties { .. } => panic!("Redis has no properties"),
    };
    frames.into_iter().map(text).collect()
}

/// As if its expiry had passed.
fn expire(client: &mut redis::Connection, key: &str) {
    assert_eq!(run::<i64>(client, &["PEXPIRE", key, "1"]), 1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(run::<i64>(client, &["EXISTS", key]), 0);
}

#[tokio::test]
async fn a_request_reaches_the_subscribers_and_replies_come_oldest_first() {
    let server = Server::start();
    let transport = transport(&server.url());
    let mut client = server.client(0);
    assert!(transport.reply_queue().starts_with("celeriac."));
    assert!(transport.reply_queue().ends_with(".reply.celery.pidbox"));
    assert!(taken(&transport).await.is_empty());
    assert!(
        keys(&mut client).is_empty(),
        "nothing is made before the first request"
    );

    let mut worker = server.client(0);
    let mut mailbox = worker.as_pubsub();
    mailbox
        .psubscribe("/0.celery.pidbox")
        .expect("the server runs");
    let published = transport
        .publish_control(&ping(transport.reply_queue()))
        .await;
    assert_eq!(
        published.expect("the server runs"),
        Published {
            subscribers: Some(1)
        }
    );
    let request = mailbox
        .get_message()
        .expect("the request comes")
        .get_payload::<String>()
        .expect("text");
    let envelope: serde_json::Value =
        serde_json::from_str(&request).expect("kombu's envelope is JSON");
    assert_eq!(
        envelope["properties"]["delivery_info"]["exchange"],
        "celery.pidbox"
    );
    assert_eq!(envelope["properties"]["delivery_info"]["routing_key"], "");
    assert!(
        envelope["properties"]["delivery_tag"]
            .as_str()
            .is_some_and(|tag| tag.len() == 36)
    );

    let key = transport.reply_queue();
    for reply in ["first", "second", "third"] {
        run::<i64>(&mut client, &["LPUSH", key, reply]);
    }
    assert_eq!(taken(&transport).await, ["first", "second", "third"]);
    assert!(taken(&transport).await.is_empty());
    run::<i64>(&mut client, &["LPUSH", key, "late"]);
    assert!(
        (1..=60).contains(&run::<i64>(&mut client, &["TTL", key])),
        "a late reply expires"
    );
    assert_eq!(taken(&transport).await, ["late"]);
    assert_eq!(keys(&mut client), [key]);
}

#[tokio::test]
async fn many_replies_come_in_several_takes_and_none_is_lost() {
    let server = Server::start();
    let transport = transport(&server.url());
    let mut client = server.client(0);
    transport
        .publish_control(&ping(transport.reply_queue()))
        .await
        .expect("the server runs");
    let all: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let mut read = Vec::new();
    for part in all.chunks(500) {
        for reply in part {
            run::<i64>(&mut client, &["LPUSH", transport.reply_queue(), reply]);
        }
        let some = taken(&transport).await;
        assert_eq!(some.len(), 300);
        read.extend(some);
    }
    // A request in between does not disturb what waits.
    transport
        .publish_control(&ping(transport.reply_queue()))
        .await
        .expect("the server runs");
    while read.len() < all.len() {
        let some = taken(&transport).await;
        assert!(
            !some.is_empty(),
            "{} of {} replies came",
            read.len(),
            all.len()
        );
        read.extend(some);
    }
    assert_eq!(read, all);
    assert_eq!(
        run::<Vec<String>>(&mut client, &["LRANGE", transport.reply_queue(), "0", "-1"]),
        [""]
    );
}

#[tokio::test]
async fn a_reply_after_the_expiry_is_still_read_and_the_list_expires_again() {
    let server = Server::start();
    let transport = transport(&server.url());
    let mut client = server.client(0);
    let key = transport.reply_queue();
    transport
        .publish_control(&ping(key))
        .await
        .expect("the server runs");
    expire(&mut client, key);
    run::<i64>(&mut client, &["LPUSH", key, "very late"]);
    assert_eq!(run::<i64>(&mut client, &["TTL", key]), -1);
    assert_eq!(taken(&transport).await, ["very late"]);
    assert!(run::<i64>(&mut client, &["TTL", key]) > 0);
}

#[tokio::test]
async fn replies_of_a_take_that_was_given_up_come_with_the_next() {
    let server = Server::start();
    let transport = transport(&server.url());
    let mut client = server.client(0);
    transport
        .publish_control(&ping(transport.reply_queue()))
        .await
        .expect("the server runs");
    for round in 0..50 {
        let reply = format!("reply {round}");
        run::<i64>(&mut client, &["LPUSH", transport.reply_queue(), &reply]);
        let give_up = Duration::from_micros(20 * round);
        if let Ok(taken) = tokio::time::timeout(give_up, taken(&transport)).await {
            assert_eq!(taken, [reply]);
            continue;
        }
        let deadline = Instant::now() + SOON;
        loop {
            let some = taken(&transport).await;
            if some == [reply.clone()] {
                break;
            }
            assert!(
                some.is_empty() && Instant::now() < deadline,
                "{some:?} instead of {reply}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_stays_after_the_end() {
    let server = Server::start();
    let mut client = server.client(0);
    run::<i64>(&mut client, &["LPUSH", "celery", "a task"]);

    // In order: the list outlives the end for late replies, and then is gone.
    let closed = transport(&server.url());
    let key = closed.reply_queue().to_owned();
    closed
        .publish_control(&ping(&key))
        .await
        .expect("the server runs");
    run::<i64>(&mut client, &["LPUSH", &key, "not read"]);
    closed.close().await;
    assert_eq!(
        run::<Vec<String>>(&mut client, &["LRANGE", &key, "0", "-1"]),
        [""]
    );
    run::<i64>(&mut client, &["LPUSH", &key, "late"]);
    assert!((1..=30).contains(&run::<i64>(&mut client, &["TTL", &key])));
    expire(&mut client, &key);

    // Killed: the same, without a word.
    let killed = transport(&server.url());
    let key = killed.reply_queue().to_owned();
    killed
        .publish_control(&ping(&key))
        .await
        .expect("the server runs");
    drop(killed);
    assert!((1..=60).contains(&run::<i64>(&mut client, &["TTL", &key])));
    expire(&mut client, &key);

    // Never asked anything: nothing to give back.
    let idle = transport(&server.url());
    idle.depths(&["celery".to_owned()])
        .await
        .expect("the server runs");
    idle.close().await;
    assert_eq!(keys(&mut client), ["celery"]);
}

#[tokio::test]
async fn a_start_gives_an_end_to_lists_that_were_left_without_one() {
    let server = Server::start();
    let mut client = server.client(0);
    let orphan = "pfx:celeriac.0000.reply.celery.pidbox";
    let others = [
        "pfx:celery",
        "pfx:1111.reply.celery.pidbox",
        "celeriac.2222.reply.celery.pidbox",
    ];
    for key in others.into_iter().chain([orphan]) {
        run::<i64>(&mut client, &["LPUSH", key, "x"]);
    }
    let transport = transport_with(&server.url(), &["global_keyprefix=pfx:"]);
    transport.server_version().await.expect("the server runs");
    let deadline = Instant::now() + SOON;
    while run::<i64>(&mut client, &["TTL", orphan]) == -1 {
        assert!(Instant::now() < deadline, "the orphan was not found");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for key in others {
        assert_eq!(
            run::<i64>(&mut client, &["TTL", key]),
            -1,
            "{key} is not ours"
        );
    }
}

#[tokio::test]
async fn the_key_has_the_prefix_and_reply_to_has_not() {
    let server = Server::start();
    let url = format!("redis://127.0.0.1:{}/3", server.port);
    let transport = transport_with(&url, &["global_keyprefix=pfx:"]);
    let mut client = server.client(3);
    transport
        .publish_control(&ping(transport.reply_queue()))
        .await
        .expect("the server runs");
    let key = format!("pfx:{}", transport.reply_queue());
    assert_eq!(keys(&mut client), [key.as_str()]);
    run::<i64>(&mut client, &["LPUSH", &key, "reply"]);
    assert_eq!(taken(&transport).await, ["reply"]);
}

#[tokio::test]
async fn a_request_that_was_sent_and_not_confirmed_may_have_been_taken() {
    let mut server = Server::start();
    let transport = transport(&server.url());
    let request = ping(transport.reply_queue());
    transport
        .publish_control(&request)
        .await
        .expect("the server runs");
    let mut worker = server.client(0);
    let mut mailbox = worker.as_pubsub();
    mailbox
        .psubscribe("/0.celery.pidbox")
        .expect("the server runs");
    server.freeze();
    let error = transport
        .publish_control(&request)
        .await
        .expect_err("the server is frozen");
    assert!(matches!(error, TransportError::Unsure { .. }), "{error:?}");
    server.thaw();
    // It had been taken.
    mailbox
        .get_message()
        .expect("the request comes all the same");
    drop(mailbox);

    server.kill();
    // The first may still have been on its way; without a connection nothing was sent.
    let _ = transport.publish_control(&request).await;
    let error = transport
        .publish_control(&request)
        .await
        .expect_err("the server is gone");
    assert!(
        matches!(error, TransportError::Unreachable { .. }),
        "{error:?}"
    );
}
