//! TLS with the options of a broker URL, as redis-py's `SSLConnection` takes them. Certificates and keys are read anew for
//! each connection, so that rotated files are used.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TransportError, failure};
use crate::wire::url::{BrokerUrl, CertificateCheck, Server, TlsOptions};

/// Says once what kombu only does: without options, `rediss://` trusts anybody.
pub(super) fn warn_of_unchecked_certificates(url: &BrokerUrl) {
    for server in url.servers() {
        let trusts_anybody =
            |tls: &TlsOptions| tls.certificate == CertificateCheck::Off && !tls.stated;
        if server.tls.as_ref().is_some_and(trusts_anybody) {
            tracing::warn!(
                endpoint = %server.endpoint(),
                "the broker's certificate is not checked, as Celery does without ssl_cert_reqs; add \
                 ?ssl_cert_reqs=required (and ssl_ca_certs=FILE for an authority of your own) to the broker URL"
            );
        }
    }
}

/// Speaks TLS over `stream`.
pub(super) async fn handshake(
    server: &Server,
    options: &TlsOptions,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, TransportError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        failure::tls_broken(server, "the host is no name for a certificate".to_owned())
    })?;
    let options = options.clone();
    // Reads files, and all certificates of the system when none are named.
    let config = tokio::task::spawn_blocking(move || client_config(&options))
        .await
        .map_err(|error| failure::tls_broken(server, error.to_string()))?
        .map_err(|reason| failure::tls_broken(server, reason))?;
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(name, stream)
        .await
        .map_err(|error| failure::handshake_failed(server, &error))
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(options, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(certfile) = &options.certfile else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("ssl_certfile", certfile)?;
    let keyfile = options.keyfile.as_ref().unwrap_or(certfile);
    let key = PrivateKeyDer::from_pem_file(keyfile).map_err(|error| {
        format!(
            "no private key can be read from {} ({error}); an encrypted key is not supported",
            keyfile.display()
        )
    })?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("ssl_certfile and ssl_keyfile: {error}"))
}

fn verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let algorithms = provider.signature_verification_algorithms;
    if options.certificate == CertificateCheck::Off {
        return Ok(Arc::new(Unchecked { algorithms }));
    }
    let roots = Arc::new(roots(options)?);
    let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())?;
    if options.certificate == CertificateCheck::Chain {
        return Ok(Arc::new(AnyHost { chain }));
    }
    Ok(chain)
}

/// The trusted certificates. Those of the system are used only when no others are named, and one that cannot be read does
/// not spoil the rest.
fn roots(options: &TlsOptions) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    if let Some(path) = &options.ca_certs {
        for certificate in certificates("ssl_ca_certs", path)? {
            store
                .add(certificate)
                .map_err(|error| format!("ssl_ca_certs {}: {error}", path.display()))?;
        }
        return Ok(store);
    }
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err("the system has no trusted certificates; give ssl_ca_certs".to_owned());
    }
    Ok(store)
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("{option} {}: {error}", path.display());
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect();
    let certificates = certificates.map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(format!(
            "{option} {} holds no certificate in PEM form",
            path.display()
        ));
    }
    Ok(certificates)
}

/// `ssl_cert_reqs=none`: any certificate will do.
#[derive(Debug)]
struct Unchecked {
    algorithms: WebPkiSupportedAlgorithms,
}

/// `ssl_check_hostname=false`: any certificate of a trusted authority will do.
#[derive(Debug)]
struct AnyHost {
    chain: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is the last that is checked: when only it fails, the chain is good.
        match self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
