//! The stream to an aggregator over gRPC.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use celeriac_proto::v1::ingest_service_client::IngestServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{Connector, Duplex, LinkError};

/// Batches between the sender and the network: enough to keep it busy, few enough to notice a slow aggregator.
const REQUESTS: usize = 8;

/// Acknowledgements between the network and the sender.
const RESPONSES: usize = 64;

const CONNECT: Duration = Duration::from_secs(5);

/// A dead connection is noticed within 30 s: an aggregator's node may vanish without closing it.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// Bytes of a token file that are read at most: tokens of Kubernetes have about 1 KiB.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// Where an aggregator listens: `http://HOST:PORT`, `https://HOST:PORT`, or `HOST:PORT`.
#[derive(Clone, PartialEq, Eq)]
pub struct AggregatorUrl(String);

/// An aggregator URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AggregatorUrlError {
    /// Another scheme than HTTP.
    #[error("the aggregator's URL begins with http:// or https://, not with {0}://")]
    Scheme(String),
    /// No host.
    #[error("the aggregator's URL names no host; write for instance http://127.0.0.1:5555")]
    Host,
    /// A user or password in it, which would be shown in logs.
    #[error("the aggregator's URL takes no user and no password")]
    Credentials,
    /// No URL at all.
    #[error("the aggregator's URL cannot be read; write for instance http://127.0.0.1:5555")]
    Unreadable,
}

impl AggregatorUrl {
    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Whether nobody else hears what is said to it: over TLS, or on this machine.
    pub fn is_private(&self) -> bool {
        let Some((_, authority)) = self.0.split_once("://") else {
            return false;
        };
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => authority.split(':').next().unwrap_or(authority),
        };
        self.is_tls()
            || host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for AggregatorUrl {
    type Err = AggregatorUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(AggregatorUrlError::Scheme(scheme));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(AggregatorUrlError::Credentials);
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(AggregatorUrlError::Host);
        }
        let url = format!("{scheme}://{authority}");
        match Endpoint::from_shared(url.clone()) {
            Ok(_) => Ok(Self(url)),
            Err(_) => Err(AggregatorUrlError::Unreadable),
        }
    }
}

impl fmt::Display for AggregatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AggregatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the aggregator is known, and how it knows this inspector. The files are read anew for each stream: authorities are
/// renewed, and Kubernetes replaces projected tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM file of the authorities that are trusted to name it; those of the system without.
    pub ca: Option<PathBuf>,
    /// File of the token.
    pub token_file: Option<PathBuf>,
}

/// Reaches an aggregator over gRPC.
#[derive(Debug, Clone)]
pub struct GrpcConnector {
    url: AggregatorUrl,
    trust: Trust,
}

impl GrpcConnector {
    /// A connector to the aggregator at `url`; connects when a stream is opened.
    pub fn new(url: AggregatorUrl, trust: Trust) -> Self {
        Self { url, trust }
    }

    /// What is needed to connect. Blocks on files.
    fn prepare(&self) -> Result<(Endpoint, Option<MetadataValue<Ascii>>), LinkError> {
        let ca = self.trust.ca.as_ref().map(|path| {
            std::fs::read(path).map_err(|source| LinkError::File {
                option: "--aggregator-ca",
                path: path.clone(),
                source,
            })
        });
        let endpoint = self.endpoint(ca.transpose()?);
        let endpoint = endpoint.map_err(|source| LinkError::Unreachable {
            endpoint: self.url.to_string(),
            source,
        })?;
        let token = self.trust.token_file.as_ref().map(|path| {
            token(path).map_err(|source| LinkError::File {
                option: "--aggregator-token-file",
                path: path.clone(),
                source,
            })
        });
        Ok((endpoint, token.transpose()?))
    }

    fn endpoint(&self, ca: Option<Vec<u8>>) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(self.url.0.clone())?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE_EVERY))
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_ANSWER)
            .keep_alive_while_idle(true);
        if !self.url.is_tls() {
            return Ok(endpoint);
        }
        let tls = ClientTlsConfig::new();
        endpoint.tls_config(match ca {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        })
    }
}

/// The value of `authorization`.
fn token(path: &Path) -> io::Result<MetadataValue<Ascii>> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text)?;
    let token = text.trim();
    let refuse = || io::Error::new(io::ErrorKind::InvalidData, "it holds no token");
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse());
    }
    let mut value: MetadataValue<Ascii> =
        (format!("Bearer {token}").parse()).map_err(|_no_header| refuse())?;
    value.set_sensitive(true);
    Ok(value)
}

impl GrpcConnector {
    /// A connection, and what says to the other side who this is.
    pub(super) async fn connect(
        &self,
    ) -> Result<(Channel, Option<MetadataValue<Ascii>>), LinkError> {
        let own = self.clone();
        let prepared = tokio::task::spawn_blocking(move || own.prepare()).await;
        // It fails only when the runtime ends, and then nobody reads why.
        let (endpoint, token) = prepared.map_err(|_ended| LinkError::Closed)??;
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|source| LinkError::Unreachable {
            endpoint: self.url.to_string(),
            source,
        })?;
        Ok((channel, token))
    }
}

impl Connector for GrpcConnector {
    async fn open(&mut self) -> Result<Duplex, LinkError> {
        let (channel, token) = self.connect().await?;
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let (incoming, responses) = mpsc::channel(RESPONSES);
        // The answer's headers may come only after `hello`, so the call is not awaited here.
        tokio::spawn(async move {
            let mut client = IngestServiceClient::new(channel);
            let call = async {
                let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
                if let Some(token) = token {
                    request.metadata_mut().insert("authorization", token);
                }
                let mut answers = client.attach(request).await?.into_inner();
                while let Some(answer) = answers.message().await? {
                    if incoming.send(Ok(answer)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            };
            let ended = tokio::select! {
                ended = call => ended,
                () = incoming.closed() => Ok(()),
            };
            if let Err(status) = ended {
                // Nobody listens when the other side was dropped, which is how a stream is ended.
                let _ = incoming.send(Err(status)).await;
            }
        });
        Ok(Duplex {
            requests,
            responses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregator_urls_are_checked() {
        let parse = |text: &str| text.parse::<AggregatorUrl>().map(|url| url.to_string());
        assert_eq!(parse("127.0.0.1:5555"), Ok("http://127.0.0.1:5555".into()));
        assert_eq!(parse("HTTPS://a.example/"), Ok("https://a.example".into()));
        assert_eq!(parse("http://[::1]:5555"), Ok("http://[::1]:5555".into()));
        assert_eq!(
            parse("ftp://a"),
            Err(AggregatorUrlError::Scheme("ftp".into()))
        );
        assert_eq!(parse("http://"), Err(AggregatorUrlError::Host));
        assert_eq!(parse(""), Err(AggregatorUrlError::Host));
        assert_eq!(parse("http://:5555"), Err(AggregatorUrlError::Host));
        assert_eq!(
            parse("http://u:secret@a"),
            Err(AggregatorUrlError::Credentials)
        );
        assert_eq!(parse("http://a b"), Err(AggregatorUrlError::Unreadable));
    }

    #[test]
    fn a_token_is_sent_only_where_nobody_else_hears_it() {
        for (text, private) in [
            ("https://a.example", true),
            ("http://localhost:1", true),
            ("http://127.0.0.1:5555", true),
            ("http://[::1]:5555", true),
            ("http://a.example", false),
            ("http://10.0.0.1:5555", false),
            ("http://localhost.example:1", false),
        ] {
            let url: AggregatorUrl = text.parse().expect(text);
            assert_eq!(url.is_private(), private, "{text}");
        }
    }

    #[test]
    fn tokens_are_read_anew_and_never_shown() {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let path = folder.path().join("token");
        assert_eq!(
            token(&path).expect_err("no file").kind(),
            io::ErrorKind::NotFound
        );
        for bad in ["", "a b", "\u{7f}"] {
            std::fs::write(&path, bad).expect("the folder is writable");
            let error = token(&path).expect_err(bad);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        std::fs::write(&path, "hunter2\n").expect("the folder is writable");
        let value = token(&path).expect("it is a token");
        assert_eq!(value, "Bearer hunter2");
        assert!(!format!("{value:?}").contains("hunter2"));
    }
}
