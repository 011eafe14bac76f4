//! The stream to an aggregator over gRPC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use celeriac_proto::v1::ingest_service_client::IngestServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::{Connector, Duplex, LinkError};

/// Batches between the sender and the network: enough to keep it busy, few enough to notice a slow aggregator.
const REQUESTS: usize = 8;

/// Acknowledgements between the network and the sender.
const RESPONSES: usize = 64;

const CONNECT: Duration = Duration::from_secs(5);

/// A dead connection is noticed within 30 s: an aggregator's node may vanish without closing it.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

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

/// Reaches an aggregator over gRPC.
#[derive(Debug, Clone)]
pub struct GrpcConnector {
    url: AggregatorUrl,
}

impl GrpcConnector {
    /// A connector to the aggregator at `url`; connects when a stream is opened.
    pub fn new(url: AggregatorUrl) -> Self {
        Self { url }
    }

    fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(self.url.0.clone())?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE_EVERY))
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_ANSWER)
            .keep_alive_while_idle(true);
        if self.url.0.starts_with("https://") {
            return endpoint.tls_config(ClientTlsConfig::new().with_native_roots());
        }
        Ok(endpoint)
    }
}

impl Connector for GrpcConnector {
    async fn open(&mut self) -> Result<Duplex, LinkError> {
        let unreachable = |source| LinkError::Unreachable {
            endpoint: self.url.to_string(),
            source,
        };
        let endpoint = self.endpoint().map_err(unreachable)?;
        let channel = endpoint.connect().await.map_err(unreachable)?;
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let (incoming, responses) = mpsc::channel(RESPONSES);
        // The answer's headers may come only after `hello`, so the call is not awaited here.
        tokio::spawn(async move {
            let mut client = IngestServiceClient::new(channel);
            let call = async {
                let mut answers = client
                    .attach(ReceiverStream::new(outgoing))
                    .await?
                    .into_inner();
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
}
