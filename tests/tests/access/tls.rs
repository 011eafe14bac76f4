//! TLS: who is trusted, what is refused, and a certificate that is renewed while it is served with.

use std::error::Error as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use celeriac_proto::v1::SubscriptionState;
use celeriac_tests::paths::{self, Profile};
use celeriac_tests::{Authority, Inspector, Redis, eventually, turn};
use rcgen::CertificateParams;

use crate::bed::{Bed, REREAD_WITHIN, SOON, connect, list_apps, page};

/// Why a connection over TLS failed, all causes in a line.
async fn refusal(bed: &Bed, authority: &Authority) -> String {
    let error = connect(bed.address, authority).await;
    let error = error.expect_err("the certificate is not to be trusted");
    let chain = std::iter::successors(error.source(), |error| (*error).source());
    chain
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[tokio::test]
async fn one_port_serves_grpc_pages_and_health_over_tls_to_those_who_trust_it() {
    let _turn = turn().await;
    let bed = Bed::start(&[]).await;
    list_apps(bed.channel().await.expect("it is trusted"))
        .await
        .expect("gRPC is served");
    for path in ["/livez", "/readyz", "/metrics"] {
        let page = page(&bed, path, &[]);
        assert!(page.starts_with("HTTP/2 200"), "{path}: {page}");
    }
    let stranger = Authority::new("a stranger");
    let words = refusal(&bed, &stranger).await;
    assert!(words.contains("UnknownIssuer"), "{words}");
    assert!(in_clear(&bed).is_err(), "nothing is answered in clear");
    list_apps(bed.channel().await.expect("it goes on"))
        .await
        .expect("whoever spoke in clear has harmed nobody");
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused_by_clients() {
    let _turn = turn().await;
    let authority = Authority::new("celeriac tests");
    authority.sign("server", "127.0.0.1");
    let bed = Bed::under(authority, &[]).await;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a valid name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let expired = bed.authority.issue(&params);
    bed.authority.write("server.crt", &expired.certificate);
    bed.authority.write("server.key", &expired.key);
    let words = eventually(
        "the expired one is served",
        REREAD_WITHIN,
        async || match connect(bed.address, &bed.authority).await {
            Ok(_) => Err("it is still trusted"),
            Err(_) => Ok(refusal(&bed, &bed.authority).await),
        },
    )
    .await;
    assert!(words.contains("certificate expired"), "{words}");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_bad_one_is_not() {
    let _turn = turn().await;
    let mut bed = Bed::start(&[]).await;
    let open = bed.channel().await.expect("it is trusted");
    bed.authority.write("server.crt", "no certificate");
    eventually("the bad one is told of", REREAD_WITHIN, async || {
        let log = bed.process.log();
        let told = log.contains("the old stays in use") && log.contains("--tls-cert");
        if told { Ok(()) } else { Err(log) }
    })
    .await;
    list_apps(bed.channel().await.expect("the old one is served"))
        .await
        .expect("it serves");
    let renewed = Authority::new("another authority");
    renewed.sign("server", "127.0.0.1");
    for name in ["server.crt", "server.key"] {
        let text = std::fs::read_to_string(renewed.file(name)).expect("it was signed");
        bed.authority.write(name, &text);
    }
    eventually("the new one is served", REREAD_WITHIN, async || {
        connect(bed.address, &renewed).await
    })
    .await;
    list_apps(open).await.expect("open connections stay open");
    assert!(bed.process.exited().is_none());
}

#[tokio::test]
async fn handshakes_that_are_never_finished_delay_nobody_and_end() {
    let _turn = turn().await;
    let bed = Bed::start(&[]).await;
    let mut silent: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(bed.address).expect("it accepts"))
        .collect();
    let started = Instant::now();
    list_apps(bed.channel().await.expect("it is not delayed"))
        .await
        .expect("it serves");
    assert!(started.elapsed() < Duration::from_secs(5));
    let stream = silent.first_mut().expect("there are 50");
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket takes a timeout");
    let read = stream.read(&mut [0; 1]);
    assert!(matches!(read, Ok(0)), "it was closed: {read:?}");
}

#[tokio::test]
async fn the_command_line_and_an_inspector_come_over_tls() {
    let _turn = turn().await;
    let redis = Redis::start();
    let bed = Bed::start(&[]).await;
    let server = format!("https://{}", bed.address);
    let ca = bed.authority.file("ca.crt");
    let inspector = Inspector::start(
        &redis.url(),
        &["run", "--aggregator", &server, "--aggregator-ca", &ca],
    );
    eventually("the inspector is subscribed", SOON, async || {
        let (status, text) = celeriac(&["apps", "-o", "json", "--server", &server, "--ca", &ca]);
        let live = SubscriptionState::Live.as_str_name();
        if status == Some(0) && text.contains(live) {
            Ok(())
        } else {
            Err(format!("{text}\n{}", inspector.process.log()))
        }
    })
    .await;
    let (status, text) = celeriac(&["apps", "--server", &server]);
    assert_eq!(status, Some(1), "the system does not know this authority");
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[test]
fn a_token_is_not_sent_in_clear_over_a_network() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let file = folder.path().join("token");
    std::fs::write(&file, "planted-token").expect("the folder is writable");
    let file = file.to_str().expect("temporary folders have UTF-8 names");
    let (status, text) = celeriac(&[
        "apps",
        "--server",
        "http://10.0.0.1:1",
        "--token-file",
        file,
    ]);
    assert_eq!(status, Some(2), "{text}");
    assert!(
        text.contains("in clear") && !text.contains("planted"),
        "{text}"
    );
    let (status, text) = celeriac_tests::product::run_to_end(
        "celeriac-inspector",
        ("CELERIAC_INSPECTOR_BROKER", "redis://127.0.0.1:1/0"),
        &[
            "run",
            "--aggregator",
            "http://10.0.0.1:1",
            "--aggregator-token-file",
            file,
        ],
    );
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("in clear") && !text.contains("planted"),
        "{text}"
    );
}

/// The command line: exit status, and both outputs together.
fn celeriac(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(paths::binary(Profile::Debug, "celeriac"));
    let output = command
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .expect("a built binary starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// What is answered to HTTP without TLS.
fn in_clear(bed: &Bed) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(bed.address)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/") {
        return Ok(answer);
    }
    Err(std::io::Error::other("no HTTP"))
}
