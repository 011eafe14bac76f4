//! TLS: what is checked, what is refused, and how it is said.

use std::path::{Path, PathBuf};

use celeriac_inspector::transport::{Transport, TransportError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::server::{Server, run};
use super::{live, message, transport};

/// An authority with certificates it signed, as PEM files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for certificates");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        write(&folder.path().join("ca.crt"), &certificate.pem());
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for a host; `NAME.crt`, `NAME.key`, and both in `NAME.pem`.
    fn sign(&self, name: &str, host: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a valid name");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        write(&self.file(&format!("{name}.crt")), &certificate.pem());
        write(&self.file(&format!("{name}.key")), &key.serialize_pem());
        write(
            &self.file(&format!("{name}.pem")),
            &format!("{}{}", certificate.pem(), key.serialize_pem()),
        );
    }

    fn server(&self, host: &str, clients: &str) -> Server {
        self.sign("server", host);
        let path = |name: &str| self.file(name).to_string_lossy().into_owned();
        Server::start_with(&[
            "--tls-cert-file",
            &path("server.crt"),
            "--tls-key-file",
            &path("server.key"),
            "--tls-ca-cert-file",
            &path("ca.crt"),
            "--tls-auth-clients",
            clients,
        ])
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file in a folder of our own");
}

fn url(server: &Server, query: &str) -> String {
    format!("rediss://127.0.0.1:{}/0{query}", server.port)
}

async fn works(url: &str) {
    transport(url)
        .server_version()
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"));
}

async fn refused(url: &str, part: &str) {
    let error = transport(url).server_version().await.expect_err(url);
    assert!(
        matches!(error, TransportError::Tls { .. }),
        "{url}: {error:?}"
    );
    assert!(error.to_string().contains(part), "{url}: {error}");
}

#[tokio::test]
async fn a_trusted_certificate_for_the_host_is_checked_and_taken() {
    let authority = Authority::new("authority");
    let server = authority.server("127.0.0.1", "no");
    let ca = authority.file("ca.crt").display().to_string();
    for query in [
        format!("?ssl_cert_reqs=required&ssl_ca_certs={ca}"),
        format!("?ssl_ca_certs={ca}"),
    ] {
        works(&url(&server, &query)).await;
    }
    let transport = transport(&url(
        &server,
        &format!("?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}"),
    ));
    let (mut incoming, _stop) = live(&transport).await;
    run::<i64>(
        &mut server.client(0),
        &["PUBLISH", "/0.celeryev/worker.online", "over TLS"],
    );
    assert_eq!(message(&mut incoming).await, b"over TLS");
}

#[tokio::test]
async fn a_foreign_authority_is_refused_unless_nothing_is_checked() {
    let authority = Authority::new("authority");
    let server = authority.server("127.0.0.1", "no");
    let [other, namesake] = ["other authority", "authority"].map(Authority::new);
    let ca = namesake.file("ca.crt").display().to_string();
    refused(
        &url(&server, &format!("?ssl_ca_certs={ca}")),
        "ssl_ca_certs",
    )
    .await;
    let ca = other.file("ca.crt").display().to_string();
    for query in [
        format!("?ssl_cert_reqs=required&ssl_ca_certs={ca}"),
        format!("?ssl_cert_reqs=optional&ssl_ca_certs={ca}"),
        format!("?ssl_cert_reqs=required&ssl_check_hostname=false&ssl_ca_certs={ca}"),
        format!("?ssl_ca_certs={ca}"),
    ] {
        refused(&url(&server, &query), "ssl_ca_certs").await;
    }
    works(&url(
        &server,
        &format!("?ssl_cert_reqs=none&ssl_ca_certs={ca}"),
    ))
    .await;
    works(&url(&server, "")).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_unless_told_otherwise() {
    let authority = Authority::new("authority");
    let server = authority.server("redis.example", "no");
    let ca = authority.file("ca.crt").display().to_string();
    refused(
        &url(
            &server,
            &format!("?ssl_cert_reqs=required&ssl_ca_certs={ca}"),
        ),
        "ssl_check_hostname=false",
    )
    .await;
    works(&url(
        &server,
        &format!("?ssl_cert_reqs=required&ssl_check_hostname=false&ssl_ca_certs={ca}"),
    ))
    .await;
}

#[tokio::test]
async fn our_own_certificate_is_shown_when_it_is_given() {
    let authority = Authority::new("authority");
    let server = authority.server("127.0.0.1", "yes");
    authority.sign("client", "inspector");
    let path = |name: &str| authority.file(name).display().to_string();
    refused(&url(&server, "?ssl_cert_reqs=none"), "ssl_certfile").await;
    let both = format!(
        "?ssl_cert_reqs=none&ssl_certfile={}&ssl_keyfile={}",
        path("client.crt"),
        path("client.key")
    );
    works(&url(&server, &both)).await;
    works(&url(
        &server,
        &format!("?ssl_cert_reqs=none&ssl_certfile={}", path("client.pem")),
    ))
    .await;
    refused(
        &url(
            &server,
            &format!("?ssl_cert_reqs=none&ssl_certfile={}", path("client.crt")),
        ),
        "private key",
    )
    .await;
}

#[tokio::test]
async fn files_and_ports_that_do_not_fit_are_named() {
    let authority = Authority::new("authority");
    let server = authority.server("127.0.0.1", "no");
    refused(
        &url(&server, "?ssl_ca_certs=/nowhere/ca.pem"),
        "ssl_ca_certs /nowhere/ca.pem",
    )
    .await;
    let empty = authority.file("empty.pem");
    write(&empty, "no certificate\n");
    refused(
        &url(&server, &format!("?ssl_ca_certs={}", empty.display())),
        "holds no certificate",
    )
    .await;

    let plain = Server::start();
    let error = transport(&url(&plain, ""))
        .server_version()
        .await
        .expect_err("a plain port has no TLS");
    assert!(error.to_string().contains("TLS on this port"), "{error}");
    let error = transport(&format!("redis://127.0.0.1:{}/0", server.port))
        .server_version()
        .await;
    let error = error
        .expect_err("a TLS port does not answer plain text")
        .to_string();
    assert!(
        error.contains("rediss://") || error.contains("scheme"),
        "{error}"
    );
}
