//! Two kinds of POST to the API server, as a pod does them: its address from the environment, token and authority from the
//! service account's folder, read for each question, since the token is replaced every hour.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Review;

/// An API server answers a review in milliseconds. A caller waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Far more than a review, which is a page.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The API server. A connection for each question: answers are remembered, so questions are rare.
#[derive(Clone)]
pub struct Api {
    host: String,
    port: u16,
    name: ServerName<'static>,
    account: PathBuf,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Api({}:{})", self.host, self.port)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A file of the service account.
    #[error("{} cannot be used", path.display())]
    Account {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No connection.
    #[error("the API server cannot be reached")]
    Connect(#[source] std::io::Error),
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// HTTP.
    #[error("the API server does not speak as expected")]
    Http(#[source] hyper::Error),
    /// The question could not be written.
    #[error("the question cannot be sent")]
    Question(#[source] hyper::http::Error),
    /// Another answer than one to the question.
    #[error(
        "the API server answered {status} ({reason}) to a {kind}; may our service account create those (system:auth-delegator)?"
    )]
    Refused {
        /// Which question.
        kind: &'static str,
        /// The status.
        status: StatusCode,
        /// Kubernetes' word for it.
        reason: String,
    },
    /// The answer is none.
    #[error("the API server's answer cannot be read")]
    Answer,
    /// No answer in time.
    #[error("the API server gave no answer within {} s", ANSWER_WITHIN.as_secs())]
    Timeout,
}

impl Api {
    /// The server at this address, which the account in this folder may ask.
    ///
    /// # Errors
    /// The host is no name.
    pub fn new(host: &str, port: u16, account: PathBuf) -> Result<Self, InvalidDnsNameError> {
        Ok(Self {
            name: ServerName::try_from(host.to_owned())?,
            host: host.to_owned(),
            port,
            account,
        })
    }

    /// The `status` of the review of a `spec`.
    pub(super) async fn review(&self, review: &Review, spec: Value) -> Result<Value, ApiError> {
        let asked = tokio::time::timeout(ANSWER_WITHIN, self.ask(review, spec)).await;
        asked.unwrap_or(Err(ApiError::Timeout))
    }

    async fn ask(&self, review: &Review, spec: Value) -> Result<Value, ApiError> {
        let account = self.account.clone();
        // Files, on a thread that may block. It fails only when the runtime ends.
        let read = tokio::task::spawn_blocking(move || read(&account)).await;
        let (config, token) = read.map_err(|_ended| ApiError::Timeout)??;
        let stream = TcpStream::connect((self.host.as_str(), self.port));
        let stream = stream.await.map_err(ApiError::Connect)?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(self.name.clone(), stream);
        let stream = TokioIo::new(stream.await.map_err(ApiError::Connect)?);
        let (mut send, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(ApiError::Http)?;
        // Ends with the answer, since the server is asked to close, or when `send` is dropped.
        tokio::spawn(connection);
        let question = json!({"apiVersion": review.api_version, "kind": review.kind, "spec": spec});
        let mut bearer: header::HeaderValue =
            format!("Bearer {token}")
                .parse()
                .map_err(|_no_header| ApiError::Account {
                    path: self.account.join(TOKEN_FILE),
                    source: std::io::ErrorKind::InvalidData.into(),
                })?;
        bearer.set_sensitive(true);
        let request = Request::post(review.path)
            .header(header::HOST, self.host.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .header(header::AUTHORIZATION, bearer)
            .body(Full::new(Bytes::from(question.to_string())))
            .map_err(ApiError::Question)?;
        let answer = send.send_request(request).await.map_err(ApiError::Http)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|_broken| ApiError::Answer)?.to_bytes();
        let mut answer: Value =
            serde_json::from_slice(&body).map_err(|_no_json| ApiError::Answer)?;
        if !status.is_success() {
            return Err(ApiError::Refused {
                kind: review.kind,
                status,
                reason: answer["reason"].as_str().unwrap_or("?").to_owned(),
            });
        }
        Ok(answer["status"].take())
    }
}

/// The file names of a service account's folder.
const TOKEN_FILE: &str = "token";
const AUTHORITY_FILE: &str = "ca.crt";

fn read(account: &Path) -> Result<(ClientConfig, String), ApiError> {
    let file = |name| {
        let path = account.join(name);
        std::fs::read_to_string(&path).map_err(|source| ApiError::Account { path, source })
    };
    let token = file(TOKEN_FILE)?.trim().to_owned();
    let authority = file(AUTHORITY_FILE)?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(authority.as_bytes());
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ApiError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((config, token))
}
