//! What is valid for a sidecar.

use std::io::{self, Read as _};
use std::path::Path;

use super::{ConfigError, Trust, aggregator, broker, listen, name};
use crate::args::SidecarArgs;
use crate::sidecar::{DrainToken, SidecarConfig};
use crate::uplink::GrpcConnector;

/// Bytes of a token file that are read at most.
const TOKEN_BYTES_MAX: u64 = 4 * 1024;

impl TryFrom<SidecarArgs> for SidecarConfig {
    type Error = ConfigError;

    fn try_from(args: SidecarArgs) -> Result<Self, ConfigError> {
        let worker = name("worker", args.worker)?;
        if !worker.contains('@') {
            return Err(ConfigError::Worker { worker });
        }
        let trust = Trust {
            ca: args.aggregator_ca,
            token_file: args.aggregator_token_file,
        };
        let connector = match &args.aggregator {
            Some(url) => {
                let (url, trust) = aggregator(url, trust)?;
                Some(GrpcConnector::new(url, trust))
            }
            None if trust.ca.is_some() => {
                let option = "aggregator-ca";
                return Err(ConfigError::NoAggregator { option });
            }
            None if trust.token_file.is_some() => {
                let option = "aggregator-token-file";
                return Err(ConfigError::NoAggregator { option });
            }
            None => None,
        };
        let token = match (&args.drain_token, args.drain_token_file) {
            (Some(token), _) => DrainToken::new(token),
            (None, Some(path)) => {
                let read = token(&path);
                Some(read.map_err(|source| ConfigError::DrainToken { path, source })?)
            }
            (None, None) => None,
        };
        Ok(Self {
            worker,
            app: name("app", args.app)?,
            broker: broker(args.broker)?,
            names: args.names.try_into()?,
            serializer: args.control_serializer.into(),
            aggregator: connector,
            listen: listen(&args.listen)?,
            stalled_after: args.stalled_after,
            drain_deadline: args.drain_deadline,
            drain_lease: args.drain_lease,
            drain_token: token,
        })
    }
}

fn token(path: &Path) -> io::Result<DrainToken> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    DrainToken::new(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is empty"))
}
