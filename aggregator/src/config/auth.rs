//! How callers are known, and with that where may be listened.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::ConfigError;
use crate::access::kubernetes::Api;
use crate::args::AuthMode;

/// How callers are known.
#[derive(Debug, Clone)]
pub enum Auth {
    /// They are not: everybody is served.
    None,
    /// By a file of tokens.
    Tokens {
        /// The file.
        file: PathBuf,
    },
    /// By Kubernetes.
    Kubernetes {
        /// Its API server.
        api: Api,
        /// The audience that tokens must be for.
        audience: String,
    },
}

/// The mode, with what it needs and nothing of another.
pub(super) fn authentication(
    mode: AuthMode,
    tokens_file: Option<PathBuf>,
    audience: Option<String>,
    account: PathBuf,
) -> Result<Auth, ConfigError> {
    let needs = |mode, flag| ConfigError::AuthNeeds { mode, flag };
    let unused = |flag, mode| Err(ConfigError::AuthUnused { flag, mode });
    match mode {
        AuthMode::None | AuthMode::Kubernetes if tokens_file.is_some() => {
            unused("--tokens-file", "tokens")
        }
        AuthMode::None | AuthMode::Tokens if audience.is_some() => {
            unused("--audience", "kubernetes")
        }
        AuthMode::None => Ok(Auth::None),
        AuthMode::Tokens => {
            let file = tokens_file.ok_or_else(|| needs("tokens", "--tokens-file"))?;
            Ok(Auth::Tokens { file })
        }
        AuthMode::Kubernetes => {
            let audience = audience.filter(|name| !name.is_empty());
            let audience = audience.ok_or_else(|| needs("kubernetes", "--audience"))?;
            let api = api_server(account)?;
            Ok(Auth::Kubernetes { api, audience })
        }
    }
}

/// The API server, as Kubernetes tells every container.
fn api_server(account: PathBuf) -> Result<Api, ConfigError> {
    let variable = |name: &'static str| {
        let value = std::env::var(name).ok().filter(|text| !text.is_empty());
        value.ok_or(ConfigError::NoCluster { variable: name })
    };
    let (host, port) = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT");
    let number = variable(port)?.parse();
    let number = number.map_err(|_no_port| ConfigError::NoCluster { variable: port })?;
    Api::new(&variable(host)?, number, account)
        .map_err(|_no_name| ConfigError::NoCluster { variable: host })
}

/// The address, if it may be served on: by others only if they say who they are, and nobody hears it.
pub(super) fn served(text: &str, auth: &Auth, encrypted: bool) -> Result<SocketAddr, ConfigError> {
    let named = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr =
        named
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map_err(|_not_an_address| ConfigError::Listen {
                value: text.to_owned(),
            })?;
    match auth {
        _ if address.ip().is_loopback() => Ok(address),
        Auth::None => Err(ConfigError::NotLoopback { value: address }),
        Auth::Tokens { .. } | Auth::Kubernetes { .. } if encrypted => Ok(address),
        Auth::Tokens { .. } | Auth::Kubernetes { .. } => {
            Err(ConfigError::InClear { value: address })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_served() {
        let loopback = |text| served(text, &Auth::None, true);
        assert_eq!(loopback("127.0.0.1:5555").unwrap().port(), 5555);
        assert_eq!(loopback("localhost:1").unwrap().port(), 1);
        assert!(loopback("[::1]:5555").is_ok());
        let open = loopback("0.0.0.0:5555").unwrap_err().to_string();
        assert!(
            open.contains("0.0.0.0:5555") && open.contains("127.0.0.1:5555"),
            "{open}"
        );
        assert!(
            loopback("5555")
                .unwrap_err()
                .to_string()
                .contains("IP:PORT")
        );
    }

    #[test]
    fn others_are_served_only_if_they_are_known_and_nobody_hears_them() {
        let tokens = Auth::Tokens {
            file: "tokens".into(),
        };
        assert!(served("0.0.0.0:1", &tokens, true).is_ok());
        assert!(served("127.0.0.1:1", &tokens, false).is_ok());
        let clear = served("[::]:1", &tokens, false).unwrap_err().to_string();
        assert!(clear.contains("--tls-cert"), "{clear}");
        let file = || Some(PathBuf::from("tokens"));
        let audience = || Some("celeriac".to_owned());
        let check = |mode, file, audience| authentication(mode, file, audience, "account".into());
        assert!(check(AuthMode::Tokens, file(), None).is_ok());
        for (mode, file, audience, flag) in [
            (AuthMode::Tokens, None, None, "--tokens-file"),
            (AuthMode::None, file(), None, "--tokens-file"),
            (AuthMode::Kubernetes, file(), audience(), "--tokens-file"),
            (AuthMode::Kubernetes, None, None, "--audience"),
            (
                AuthMode::Kubernetes,
                None,
                Some(String::new()),
                "--audience",
            ),
            (AuthMode::None, None, audience(), "--audience"),
            (AuthMode::Tokens, file(), audience(), "--audience"),
        ] {
            let refused = check(mode, file, audience).unwrap_err().to_string();
            assert!(refused.contains(flag), "{refused}");
        }
    }
}
