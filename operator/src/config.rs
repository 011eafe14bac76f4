//! What is valid of what was typed.

use std::net::SocketAddr;

use crate::args::RunArgs;
use crate::build::inspector::Inspection;
use crate::controllers::run::Scope;

/// How the operator runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where resources are looked for.
    pub scope: Scope,
    /// Where inspectors report to, if anywhere.
    pub inspection: Option<Inspection>,
    /// Where health and metrics are served, if anywhere.
    pub listen: Option<SocketAddr>,
    /// Name of the Lease.
    pub lease: String,
    /// Its namespace; the operator's own when absent.
    pub lease_namespace: Option<String>,
}

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// No address.
    #[error("--listen {text}: write HOST:PORT, such as 127.0.0.1:9809")]
    Listen {
        /// What was written.
        text: String,
    },
    /// No URL.
    #[error("--aggregator {text}: write a URL, such as http://celeriac-aggregator:5555")]
    Aggregator {
        /// What was written.
        text: String,
    },
}

impl TryFrom<RunArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        let listen = match args.listen {
            None => None,
            Some(text) => match text.parse() {
                Ok(address) => Some(address),
                Err(_) => return Err(ConfigError::Listen { text }),
            },
        };
        let inspection = match args.aggregator {
            None => None,
            Some(text) if text.starts_with("http://") || text.starts_with("https://") => {
                Some(Inspection {
                    aggregator: text,
                    image: args.inspector_image,
                })
            }
            Some(text) => return Err(ConfigError::Aggregator { text }),
        };
        Ok(Self {
            scope: Scope::of(args.namespace),
            inspection,
            listen,
            lease: args.lease,
            lease_namespace: args.lease_namespace,
        })
    }
}
