//! RabbitMQ 3.10 and 4 with TLS: certificates of both sides, what is refused, and how it is said.

use std::marker::PhantomData;

use celeriac_inspector::transport::amqp::Keeping;
use celeriac_inspector::transport::{Transport, TransportError};
use celeriac_tests::rabbitmq::Kind;
use celeriac_tests::{Authority, Proxy, RabbitMq, VirtualHost};

use super::{Four, Rabbit, Three, Way, transport};

/// A node that shows its certificate and wants to see ours.
struct Encrypted<N>(PhantomData<N>);

impl<N: Way> Way for Encrypted<N> {
    const KIND: Kind = N::KIND;

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

mod three {
    use super::{Encrypted, Rabbit, Three};
    use crate::cases::contract;

    contract!(Rabbit<Encrypted<Three>>);
}

mod four {
    use super::{Encrypted, Four, Rabbit};
    use crate::cases::contract;

    contract!(Rabbit<Encrypted<Four>>);
}

fn url(host: &VirtualHost, query: &str) -> String {
    let url = host.url_of(host.node().tls_address(), "guest");
    format!("{}?{query}", url.replacen("amqp:", "amqps:", 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_is_told_which_option_is_missing() {
    refused_by(Three::KIND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_by_rabbitmq_4_is_told_so_too() {
    refused_by(Four::KIND).await;
}

async fn refused_by(kind: Kind) {
    let host = tokio::task::spawn_blocking(move || RabbitMq::host_on(kind)).await;
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
