//! The server's certificate and key, from PEM files, read again when they change: a renewal needs no restart, and new
//! connections get the new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::reread::{self, Digest};

/// Where certificate and key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{flag} {} cannot be read", path.display())]
    Read {
        /// The flag that named it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{flag} {} holds no {what} in PEM form", path.display())]
    Content {
        /// The flag that named it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// They cannot be used together.
    #[error("the certificate of --tls-cert and the key of --tls-key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The library has no protocol in common with itself.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The certificate in use.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// Reads the files and makes TLS of them; the second value follows what becomes of the files, and is to be run.
///
/// # Errors
/// They cannot be used.
pub fn acceptor(
    files: Files,
    stop: CancellationToken,
) -> Result<(TlsAcceptor, impl Future<Output = ()> + Send + 'static), CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (digest, pair) = read(&files, &provider)?;
    let current = Arc::new(Current(RwLock::new(pair)));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let follow = reread::follow(
        "the TLS certificate",
        digest,
        move || read(&files, &provider),
        move |pair| *current.0.write() = pair,
        stop,
    );
    Ok((TlsAcceptor::from(Arc::new(config)), follow))
}

fn read(
    files: &Files,
    provider: &CryptoProvider,
) -> Result<(Digest, Arc<CertifiedKey>), CertificateError> {
    let (chain_flag, key_flag) = ("--tls-cert", "--tls-key");
    let chain_pem = bytes(chain_flag, &files.certificate)?;
    let key_pem = bytes(key_flag, &files.key)?;
    let content = |flag, path: &Path, what| CertificateError::Content {
        flag,
        path: path.to_owned(),
        what,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|_no_pem| content(chain_flag, &files.certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(content(chain_flag, &files.certificate, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_no_pem| content(key_flag, &files.key, "private key (not an encrypted one)"))?;
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Pair)?;
    Ok((reread::digest(&[&chain_pem, &key_pem]), Arc::new(pair)))
}

fn bytes(flag: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read {
        flag,
        path: path.to_owned(),
        source,
    })
}
