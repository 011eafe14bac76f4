//! The transport options about Sentinels: which server they are asked for, and how they are asked.

use std::fmt;

use serde_json::Value;

use super::TransportOptionError;
use crate::wire::url::TlsOptions;

/// The transport options that matter behind Sentinels. User, password and TLS of the broker URL are those of the servers;
/// those of the Sentinels themselves are here.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SentinelOptions {
    /// `master_name`: the servers that the Sentinels are asked for.
    pub master_name: Option<String>,
    /// `min_other_sentinels`: a Sentinel that knows fewer others is not believed.
    pub min_other_sentinels: u64,
    /// `sentinel_fanout_compat`: the app's workers use the channels of kombu before 5.4 too.
    pub fanout_compat: bool,
    /// `username` in `sentinel_kwargs`.
    pub username: Option<String>,
    /// `password` in `sentinel_kwargs`.
    pub password: Option<String>,
    /// `ssl` and `ssl_*` in `sentinel_kwargs`.
    pub tls: Option<TlsOptions>,
}

impl fmt::Debug for SentinelOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelOptions")
            .field("master_name", &self.master_name)
            .finish_non_exhaustive()
    }
}

/// What redis-py takes in `sentinel_kwargs` and what makes no difference here.
const WITHOUT_EFFECT: &[&str] = &[
    "client_name",
    "db",
    "decode_responses",
    "encoding",
    "health_check_interval",
    "max_connections",
    "protocol",
    "retry_on_timeout",
];

impl SentinelOptions {
    /// Reads `sentinel_kwargs`, a JSON object with the arguments of redis-py's client.
    pub(super) fn set_kwargs(&mut self, value: &str) -> Result<(), TransportOptionError> {
        // Values may be passwords, so errors name keys only, and only those that are known.
        let wrong = TransportOptionError::Value {
            name: "sentinel_kwargs",
            expected: "a JSON object with username, password, ssl and ssl_* options, such as {\"password\": \"…\"}",
        };
        let Ok(Value::Object(fields)) = serde_json::from_str(value) else {
            return Err(wrong);
        };
        let (mut username, mut password, mut encrypted) = (None, None, false);
        let mut tls: Vec<(String, String)> = Vec::new();
        for (name, value) in fields {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("username", Value::String(text)) => username = Some(text),
                ("password", Value::String(text)) => password = Some(text),
                ("ssl", Value::Bool(on)) => encrypted = on,
                (ssl, Value::String(text)) if ssl.starts_with("ssl_") => tls.push((name, text)),
                (ssl, Value::Bool(on)) if ssl.starts_with("ssl_") => {
                    tls.push((name, on.to_string()));
                }
                (other, _) if other.starts_with("socket_") || WITHOUT_EFFECT.contains(&other) => {}
                _ => return Err(wrong),
            }
        }
        // As redis-py: without `ssl` the others say nothing.
        let options = encrypted.then(|| TlsOptions::of_redis_py(tls));
        self.tls = options.transpose().map_err(|_| wrong)?;
        (self.username, self.password) = (username, password);
        Ok(())
    }
}
