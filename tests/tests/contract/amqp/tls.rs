//! RabbitMQ 3.10 with TLS: certificates of both sides, what is refused, and how it is said.

use celeriac_inspector::transport::amqp::Keeping;
use celeriac_inspector::transport::{Transport, TransportError};
use celeriac_tests::rabbitmq::Kind;
use celeriac_tests::{Authority, Proxy, RabbitMq, VirtualHost};

use super::{Rabbit, Way, transport};
use crate::cases::contract;

/// Shows its certificate and wants to see ours.
struct Encrypted;

impl Way for Encrypted {
    const KIND: Kind = Kind::Three;

    fn proxy(host: &VirtualHost) -> Proxy {
        Proxy::start(host.node().tls_address())
    }

    fn url(host: &VirtualHost, proxy: &Proxy, user: &str) -> String {
        let authority = host.node().authority();
        let [ca, certificate, key] =
            ["ca.crt", "client.crt", "client.key"].map(|name| authority.file(name));
        let url = host.url_of(proxy.address(), user);
        format!(
            "{}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}&ssl_certfile={certificate}&ssl_keyfile={key}",
            url.replacen("amqp:", "amqps:", 1)
        )
    }
}

contract!(Rabbit<Encrypted>);

fn url(host: &VirtualHost, query: &str) -> String {
    let url = host.url_of(host.node().tls_address(), "guest");
    format!("{}?{query}", url.replacen("amqp:", "amqps:", 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_is_told_which_option_is_missing() {
    let host = tokio::task::spawn_blocking(RabbitMq::host).await;
    let host = host.expect("a virtual host is made");
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
