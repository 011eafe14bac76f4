//! What cannot work, and how it is said.

use std::io::{Read, Write};
use std::net::TcpListener;

use celeriac_inspector::transport::{Incoming, Transport, TransportError};
use tokio_util::sync::CancellationToken;

use super::server::{Server, free_port, run};
use super::{live, message, next, ping, transport};

/// The error of the first command and that of the subscription.
async fn errors(url: &str) -> [TransportError; 2] {
    let transport = transport(url);
    let command = transport.server_version().await.expect_err(url);
    let stop = CancellationToken::new();
    let mut incoming = transport.subscribe(stop);
    let Incoming::Lost { error, .. } = next(&mut incoming).await else {
        panic!("{url} gave a subscription");
    };
    for error in [&command, &error] {
        let (text, debug) = (error.to_string(), format!("{error:?}"));
        assert!(
            !text.contains("s3cret") && !debug.contains("s3cret"),
            "{debug}"
        );
    }
    [command, error]
}

#[tokio::test]
async fn refused_credentials_are_said_so() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let address = format!("127.0.0.1:{}/0", server.port);
    for url in [
        format!("redis://:s3cret@{address}"),
        format!("redis://{address}"),
        format!("redis://s3cret@{address}"),
    ] {
        for error in errors(&url).await {
            assert!(
                matches!(error, TransportError::Credentials { .. }),
                "{url}: {error:?}"
            );
        }
    }
    let [error, _] = errors(&format!("redis://s3cret@{address}")).await;
    assert!(error.to_string().contains("needs a colon"), "{error}");
    let version = transport(&format!("redis://:right@{address}"))
        .server_version()
        .await;
    version.expect("the right password works");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_so() {
    let server = Server::start();
    for error in errors(&format!("redis://127.0.0.1:{}/99", server.port)).await {
        assert!(
            matches!(error, TransportError::NoSuchDatabase { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("out of range"), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let port = free_port();
    for url in [
        format!("redis://127.0.0.1:{port}/0"),
        "redis+socket:///nowhere/redis.sock".to_owned(),
        "redis://no-such-host.invalid/0".to_owned(),
    ] {
        for error in errors(&url).await {
            assert!(
                matches!(error, TransportError::Unreachable { .. }),
                "{url}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let server = Server::start();
    let mut client = server.client(0);
    run::<()>(
        &mut client,
        &[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">pw",
            "~*",
            "&/0.celeryev/*",
            "+@all",
            "-hlen",
            "-lrem",
        ],
    );
    let transport = transport(&format!("redis://app:pw@127.0.0.1:{}/0", server.port));

    // The channels of the app are enough for its events, though not for all patterns.
    let (mut incoming, _stop) = live(&transport).await;
    run::<i64>(&mut client, &["PUBLISH", "/0.celeryev/task.multi", "event"]);
    assert_eq!(message(&mut incoming).await, b"event");

    let error = transport
        .depths(&["celery".to_owned()])
        .await
        .expect_err("HLEN is not allowed");
    assert!(
        matches!(error, TransportError::Forbidden { action: "HLEN", .. }),
        "{error:?}"
    );

    // All or nothing: without the right to the reply list the request does not go out.
    let error = transport
        .publish_control(&ping(transport.reply_queue()))
        .await;
    let error = error.expect_err("LREM is not allowed");
    assert!(
        matches!(
            error,
            TransportError::Forbidden {
                action: "PUBLISH",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("lrem"), "{error}");
}

#[tokio::test]
async fn events_that_may_not_be_read_are_said_so() {
    let server = Server::start();
    let mut client = server.client(0);
    run::<()>(
        &mut client,
        &[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">pw",
            "~*",
            "resetchannels",
            "+@all",
        ],
    );
    let transport = transport(&format!("redis://app:pw@127.0.0.1:{}/0", server.port));
    let mut incoming = transport.subscribe(CancellationToken::new());
    let lost = next(&mut incoming).await;
    let Incoming::Lost {
        error:
            TransportError::Forbidden {
                action: "PSUBSCRIBE",
                reason,
                ..
            },
        ..
    } = lost
    else {
        panic!("instead of a refusal came {lost:?}");
    };
    assert!(reason.contains("&/0.celeryev/*"), "{reason}");
    run::<()>(&mut client, &["ACL", "SETUSER", "app", "&/0.celeryev/*"]);
    assert!(matches!(next(&mut incoming).await, Incoming::Live { .. }));
}

/// Answers every connection with `bytes` once something came, and closes it.
fn stub(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let port = listener
        .local_addr()
        .expect("a bound listener has an address")
        .port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut heard = [0; 512];
            let _ = stream.read(&mut heard);
            let _ = stream.write_all(bytes);
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_is_too_old_or_none_at_all_is_said_so() {
    // What Redis 5 answers to HELLO; the other commands of the greeting are refused alike.
    let old = b"-ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `default` `s3cret`, \r\n\
                -ERR unknown subcommand\r\n-ERR unknown subcommand\r\n";
    let [error, _] = errors(&format!("redis://:s3cret@127.0.0.1:{}/0", stub(old))).await;
    assert!(matches!(error, TransportError::Answer { .. }), "{error:?}");
    assert!(error.to_string().contains("Redis 6 or newer"), "{error}");

    let [error, _] = errors(&format!(
        "redis://127.0.0.1:{}/0",
        stub(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    ))
    .await;
    assert!(matches!(error, TransportError::Answer { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("does not speak the Redis protocol"),
        "{error}"
    );

    let [error, _] = errors(&format!("redis://127.0.0.1:{}/0", stub(b""))).await;
    assert!(
        matches!(error, TransportError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("rediss://"), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let port = listener
        .local_addr()
        .expect("a bound listener has an address")
        .port();
    for error in errors(&format!("redis://127.0.0.1:{port}/0")).await {
        assert!(
            matches!(error, TransportError::Timeout { seconds: 2, .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn commands_work_again_after_a_restart() {
    let mut server = Server::start();
    let transport = transport(&server.url());
    transport.server_version().await.expect("the server runs");
    server.kill();
    transport.depths(&[]).await.expect_err("the server is gone");
    server.run();
    transport.depths(&[]).await.expect("the server is back");

    server.freeze();
    let error = transport
        .depths(&[])
        .await
        .expect_err("the server is frozen");
    assert!(
        matches!(error, TransportError::Timeout { action: "HLEN", .. }),
        "{error:?}"
    );
    server.thaw();
    transport.depths(&[]).await.expect("the server goes on");
}
