//! Redis 7 with TLS: the contract with certificates on both sides; what is checked, what is refused, and how it is said.

use celeriac_inspector::transport::{Transport, TransportError};
use celeriac_tests::{Authority, Proxy, Redis, Sentinels};

use super::{Paved, Server, Way, one_event, transport};
use crate::backend::{live, message};
use crate::cases::contract;

/// Shows its certificate and wants to see ours.
struct Encrypted;

impl Way for Encrypted {
    fn pave() -> Paved {
        let authority = authority("127.0.0.1");
        authority.sign("client", "inspector");
        let redis = Redis::builder().tls(&authority, "yes").password("right");
        let redis = redis.start();
        let proxy = Proxy::start(redis.tls_address());
        let url = |password: &str| {
            let [ca, certificate, key] =
                ["ca.crt", "client.crt", "client.key"].map(|name| authority.file(name));
            format!(
                "rediss://:{password}@{}/0?ssl_cert_reqs=required&ssl_ca_certs={ca}&ssl_certfile={certificate}\
                 &ssl_keyfile={key}",
                proxy.address()
            )
        };
        Paved {
            url: url("right"),
            strangers_url: url("s3cret"),
            options: Vec::new(),
            redis,
            proxy,
            _beside: Box::new(authority),
        }
    }
}

contract!(Server<Encrypted>);

/// With a certificate `server` for a host.
fn authority(host: &str) -> Authority {
    let authority = Authority::new("authority");
    authority.sign("server", host);
    authority
}

fn started(authority: &Authority, clients: &str) -> Redis {
    Redis::builder().tls(authority, clients).start()
}

fn url(redis: &Redis, query: &str) -> String {
    format!("rediss://{}/0{query}", redis.tls_address())
}

async fn works(url: &str) {
    transport(url, &[])
        .server_version()
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"));
}

async fn refused(url: &str, part: &str) {
    let error = transport(url, &[]).server_version().await.expect_err(url);
    assert!(
        matches!(error, TransportError::Tls { .. }),
        "{url}: {error:?}"
    );
    assert!(error.to_string().contains(part), "{url}: {error}");
}

#[tokio::test]
async fn a_trusted_certificate_for_the_host_is_checked_and_taken() {
    let authority = authority("127.0.0.1");
    let redis = started(&authority, "no");
    let ca = authority.file("ca.crt");
    for query in [
        format!("?ssl_cert_reqs=required&ssl_ca_certs={ca}"),
        format!("?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}"),
        format!("?ssl_ca_certs={ca}"),
    ] {
        works(&url(&redis, &query)).await;
    }
}

#[tokio::test]
async fn a_foreign_authority_is_refused_unless_nothing_is_checked() {
    let authority = authority("127.0.0.1");
    let redis = started(&authority, "no");
    let [other, namesake] = ["other authority", "authority"].map(Authority::new);
    let ca = namesake.file("ca.crt");
    refused(&url(&redis, &format!("?ssl_ca_certs={ca}")), "ssl_ca_certs").await;
    let ca = other.file("ca.crt");
    for query in [
        format!("?ssl_cert_reqs=required&ssl_ca_certs={ca}"),
        format!("?ssl_cert_reqs=optional&ssl_ca_certs={ca}"),
        format!("?ssl_cert_reqs=required&ssl_check_hostname=false&ssl_ca_certs={ca}"),
        format!("?ssl_ca_certs={ca}"),
    ] {
        refused(&url(&redis, &query), "ssl_ca_certs").await;
    }
    let unchecked = format!("?ssl_cert_reqs=none&ssl_ca_certs={ca}");
    works(&url(&redis, &unchecked)).await;
    works(&url(&redis, "")).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_unless_told_otherwise() {
    let authority = authority("redis.example");
    let redis = started(&authority, "no");
    let ca = authority.file("ca.crt");
    let query = format!("?ssl_cert_reqs=required&ssl_ca_certs={ca}");
    refused(&url(&redis, &query), "ssl_check_hostname=false").await;
    works(&url(&redis, &format!("{query}&ssl_check_hostname=false"))).await;
}

#[tokio::test]
async fn our_own_certificate_is_shown_when_it_is_given() {
    let authority = authority("127.0.0.1");
    let redis = started(&authority, "yes");
    authority.sign("client", "inspector");
    refused(&url(&redis, "?ssl_cert_reqs=none"), "ssl_certfile").await;
    let certificate =
        |name: &str| format!("?ssl_cert_reqs=none&ssl_certfile={}", authority.file(name));
    let both = format!(
        "{}&ssl_keyfile={}",
        certificate("client.crt"),
        authority.file("client.key")
    );
    works(&url(&redis, &both)).await;
    works(&url(&redis, &certificate("client.pem"))).await;
    refused(&url(&redis, &certificate("client.crt")), "private key").await;
}

#[tokio::test]
async fn files_and_ports_that_do_not_fit_are_named() {
    let authority = authority("127.0.0.1");
    let redis = started(&authority, "no");
    let nowhere = "?ssl_ca_certs=/nowhere/ca.pem";
    refused(&url(&redis, nowhere), "ssl_ca_certs /nowhere/ca.pem").await;
    authority.write("empty.pem", "no certificate\n");
    let empty = format!("?ssl_ca_certs={}", authority.file("empty.pem"));
    refused(&url(&redis, &empty), "holds no certificate").await;

    for (url, parts) in [
        (
            format!("rediss://{}/0", redis.address()),
            ["TLS on this port", "TLS on this port"],
        ),
        (
            format!("redis://{}/0", redis.tls_address()),
            ["rediss://", "scheme"],
        ),
    ] {
        let asked = transport(&url, &[]).server_version().await;
        let said = asked.expect_err("one side speaks TLS").to_string();
        assert!(
            parts.iter().any(|part| said.contains(part)),
            "{url}: {said}"
        );
    }
}

/// The options of the URL are for the master, those in `sentinel_kwargs` for the Sentinels, as in kombu.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_their_master_speak_tls_each_by_its_own_options() {
    let authority = authority("127.0.0.1");
    let redis = started(&authority, "no");
    let sentinels = Sentinels::builder(1)
        .tls(&authority)
        .watch(redis.tls_address());
    let ca = authority.file("ca.crt");
    let url = format!(
        "{}?ssl_cert_reqs=required&ssl_ca_certs={ca}",
        sentinels.url(0)
    );
    let kwargs = format!(
        "sentinel_kwargs={{\"ssl\": true, \"ssl_cert_reqs\": \"required\", \"ssl_ca_certs\": \"{ca}\"}}"
    );
    let name = "master_name=shop".to_owned();
    let both = transport(&url, &[name.clone(), kwargs.clone()]);
    let (mut incoming, _stop) = live(&both).await;
    one_event(&redis, "/0.celeryev/task.sent", "[1]");
    assert_eq!(message(&mut incoming).await, "[1]");
    for (url, options) in [
        (url, vec![name.clone()]),
        (sentinels.url(0), vec![name, kwargs]),
    ] {
        let asked = transport(&url, &options).server_version().await;
        asked.expect_err("both have to speak TLS");
    }
}
