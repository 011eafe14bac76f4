//! What is valid of what was typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The file with the authority that signs the aggregator's certificate.
    pub aggregator_ca: Option<PathBuf>,
    /// The file with the operator's token for the aggregator.
    pub aggregator_token_file: Option<PathBuf>,
    /// Over how long the highest number of workers that was wanted is kept, in native scaling.
    pub scale_down_window: Duration,
    /// Where health and metrics are served, if anywhere.
    pub listen: Option<SocketAddr>,
    /// Name of the Lease.
    pub lease: String,
    /// Its namespace; the operator's own when absent.
    pub lease_namespace: Option<String>,
}

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error)]
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
    /// Tokens and authorities are for connections that nobody else reads.
    #[error(
        "--aggregator {text}: --aggregator-ca, --aggregator-audience and --aggregator-token-file need an https:// URL"
    )]
    InClear {
        /// What was written.
        text: String,
    },
    /// No authority to be read.
    #[error("--aggregator-ca {} cannot be read", path.display())]
    Authority {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate in it.
    #[error("--aggregator-ca {}: no certificate in it; write PEM, beginning with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// Its path.
        path: PathBuf,
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
        let secured = args.aggregator_ca.is_some()
            || args.aggregator_audience.is_some()
            || args.aggregator_token_file.is_some();
        let inspection = match args.aggregator {
            None => None,
            Some(text) if secured && text.starts_with("http://") => {
                return Err(ConfigError::InClear { text });
            }
            Some(text) if text.starts_with("http://") || text.starts_with("https://") => {
                Some(Inspection {
                    aggregator: text,
                    image: args.inspector_image,
                    authority: authority(args.aggregator_ca.as_ref())?,
                    audience: args.aggregator_audience,
                })
            }
            Some(text) => return Err(ConfigError::Aggregator { text }),
        };
        Ok(Self {
            scope: Scope::of(args.namespace),
            inspection,
            aggregator_ca: args.aggregator_ca,
            aggregator_token_file: args.aggregator_token_file,
            scale_down_window: Duration::from_secs(args.scale_down_window),
            listen,
            lease: args.lease,
            lease_namespace: args.lease_namespace,
        })
    }
}

/// The certificates of a PEM file. What else is in it, such as a key, goes no further.
fn authority(path: Option<&PathBuf>) -> Result<Option<String>, ConfigError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Authority {
        path: path.clone(),
        source,
    })?;
    let mut certificates = String::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        inside |= line == BEGIN;
        if inside {
            certificates.push_str(line);
            certificates.push('\n');
        }
        inside &= line != END;
    }
    if certificates.is_empty() || inside {
        return Err(ConfigError::NoCertificate { path: path.clone() });
    }
    Ok(Some(certificates))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
        let line = ["celeriac-operator", "run"].iter().chain(arguments);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Run(args) => Config::try_from(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_an_authority_only_certificates_are_told() {
        let folder = std::env::temp_dir().join(format!("celeriac-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ca.crt");
        let given = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let path = file.to_str().unwrap();
            config(&["--aggregator=https://a:1", "--aggregator-ca", path])
        };
        let certificate = "-----BEGIN CERTIFICATE-----\nAB==\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";
        let both = given(&format!("{key}{certificate}{key}{certificate}")).unwrap();
        let told = both.inspection.unwrap().authority.unwrap();
        assert_eq!(told, certificate.repeat(2));
        let error = given(key).unwrap_err().to_string();
        assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn tokens_need_https() {
        let in_clear = ["--aggregator=http://a:1", "--aggregator-audience=celeriac"];
        let error = config(&in_clear).unwrap_err().to_string();
        assert!(
            error.contains("http://a:1") && error.contains("https://"),
            "{error}"
        );
        let safe = ["--aggregator=https://a:1", "--aggregator-audience=celeriac"];
        let inspection = config(&safe).unwrap().inspection.unwrap();
        assert_eq!(inspection.audience.as_deref(), Some("celeriac"));
    }
}
