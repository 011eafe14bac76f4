//! RabbitMQ 3.10 with TLS: certificates of both sides, what is refused, and how it is said.

use celeriac_inspector::transport::amqp::Keeping;
use celeriac_inspector::transport::{Transport, TransportError};
use celeriac_tests::{Authority, RabbitMq, VirtualHost};

use super::transport;
use crate::backend::{live, message};

/// A virtual host; its node has a certificate of ours, `client`, to be shown.
async fn host() -> VirtualHost {
    let host = tokio::task::spawn_blocking(RabbitMq::host).await;
    let host = host.expect("a virtual host is made");
    host.node().authority().sign("client", "inspector");
    host
}

fn url(host: &VirtualHost, query: &str) -> String {
    let url = host.url_of(host.node().tls_address(), "guest");
    format!("{}?{query}", url.replacen("amqp:", "amqps:", 1))
}

/// The options by which both sides are checked.
fn both(authority: &Authority) -> String {
    let [ca, certificate, key] =
        ["ca.crt", "client.crt", "client.key"].map(|name| authority.file(name));
    format!(
        "ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}&ssl_certfile={certificate}&ssl_keyfile={key}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_and_depths_come_over_tls() {
    let host = host().await;
    let url = url(&host, &both(host.node().authority()));
    let transport = transport(&url, &Keeping::Ephemeral);
    let (mut incoming, _stop) = live(&transport).await;
    host.publish("celeryev", "task.sent", "[1]")
        .expect("it is subscribed");
    assert_eq!(message(&mut incoming).await, "[1]");
    let reading = transport.depths(&["celery".to_owned()]).await;
    reading.expect("the node answers");
    transport.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_is_told_which_option_is_missing() {
    let host = host().await;
    let [stranger, namesake] = ["other authority", "authority"].map(Authority::new);
    let ours = host.node().authority();
    let certificate = format!(
        "ssl_certfile={}&ssl_keyfile={}",
        ours.file("client.crt"),
        ours.file("client.key")
    );
    for (query, part) in [
        (
            format!("ssl_ca_certs={}&{certificate}", stranger.file("ca.crt")),
            "ssl_ca_certs",
        ),
        (
            format!("ssl_ca_certs={}&{certificate}", namesake.file("ca.crt")),
            "ssl_ca_certs",
        ),
        (
            format!("ssl_ca_certs={}", ours.file("ca.crt")),
            "ssl_certfile",
        ),
    ] {
        let transport = transport(&url(&host, &query), &Keeping::Ephemeral);
        let error = transport.depths(&["celery".to_owned()]).await;
        let error = error.expect_err("it is refused");
        assert!(
            matches!(error, TransportError::Tls { .. }),
            "{query}: {error:?}"
        );
        assert!(error.to_string().contains(part), "{query}: {error}");
    }
}
