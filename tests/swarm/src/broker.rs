//! Which broker, from its URL. Pure.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::Url;

/// Where simulated workers live.
#[derive(Clone)]
pub struct Broker(pub(crate) Kind);

#[derive(Clone)]
pub(crate) enum Kind {
    Redis(Address),
    RabbitMq(Address),
}

/// Server, user and what a URL's path names.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
    /// Database or virtual host.
    pub(crate) space: String,
}

/// What is wrong with a broker's URL. Says nothing of what is in it, which may be secret.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read.
    #[error(
        "the broker is not a URL; write redis://HOST:PORT/DATABASE or amqp://USER:PASSWORD@HOST:PORT/VHOST"
    )]
    Syntax(#[source] url::ParseError),
    /// It is of another kind.
    #[error(
        "the broker's scheme is {0:?}: simulated workers speak redis:// and amqp://, without TLS"
    )]
    Scheme(String),
    /// There is no server in it.
    #[error("the broker's URL names no host")]
    NoHost,
    /// The path of a Redis URL is not a number.
    #[error("the broker's database is {0:?}, which is not a number: write redis://HOST:PORT/0")]
    Database(String),
}

impl Broker {
    /// Reads `redis://[USER][:PASSWORD]@HOST[:PORT][/DATABASE]` or `amqp://[USER[:PASSWORD]@]HOST[:PORT][/VHOST]`, as kombu does.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let url = Url::parse(url).map_err(UrlError::Syntax)?;
        let scheme = url.scheme();
        let rabbit = match scheme {
            "redis" => false,
            "amqp" | "pyamqp" => true,
            other => return Err(UrlError::Scheme(other.to_owned())),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let space = url.path().strip_prefix('/').unwrap_or_default();
        let mut address = Address {
            host: plain(host.ok_or(UrlError::NoHost)?),
            port: url.port().unwrap_or(if rabbit { 5672 } else { 6379 }),
            user: plain(url.username()),
            password: plain(url.password().unwrap_or_default()),
            space: plain(space),
        };
        if rabbit {
            for (field, usual) in [(&mut address.user, "guest"), (&mut address.space, "/")] {
                if field.is_empty() {
                    usual.clone_into(field);
                }
            }
            if url.username().is_empty() {
                "guest".clone_into(&mut address.password);
            }
            return Ok(Self(Kind::RabbitMq(address)));
        }
        if address.space.is_empty() {
            "0".clone_into(&mut address.space);
        }
        if address.space.parse::<u32>().is_err() {
            return Err(UrlError::Database(address.space));
        }
        Ok(Self(Kind::Redis(address)))
    }

    /// Whether each worker takes a connection of its own.
    pub(crate) fn is_redis(&self) -> bool {
        matches!(self.0, Kind::Redis(_))
    }
}

fn plain(encoded: &str) -> String {
    match percent_decode_str(encoded).decode_utf8_lossy() {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: &str) {
        let seen = match Broker::parse(url) {
            Err(error) => error.to_string(),
            Ok(Broker(kind)) => {
                let (name, at) = match kind {
                    Kind::Redis(at) => ("redis", at),
                    Kind::RabbitMq(at) => ("rabbitmq", at),
                };
                let Address {
                    host,
                    port,
                    user,
                    password,
                    space,
                } = at;
                format!("{name} {host} {port} {user:?} {password:?} {space:?}")
            }
        };
        assert!(seen.starts_with(expect), "{url}: {seen}");
    }

    #[test]
    fn urls_mean_what_they_mean_to_kombu() {
        check("redis://h", r#"redis h 6379 "" "" "0""#);
        check("redis://:p%40ss@h:1/3", r#"redis h 1 "" "p@ss" "3""#);
        check("amqp://h", r#"rabbitmq h 5672 "guest" "guest" "/""#);
        check("amqp://h//", r#"rabbitmq h 5672 "guest" "guest" "/""#);
        check(
            "pyamqp://u:p@127.0.0.1:1/v%2Fw",
            r#"rabbitmq 127.0.0.1 1 "u" "p" "v/w""#,
        );
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_secrets() {
        for bad in [
            "rediss://:sesame@h",
            "redis://:sesame@h/x",
            "redis://:sesame@",
            "amqp//:sesame",
            "amqps://u:sesame@h",
        ] {
            let error = Broker::parse(bad)
                .err()
                .unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
        check("amqps://h", "the broker's scheme is \"amqps\"");
        check("redis://h/x", "the broker's database is \"x\"");
        check("nonsense", "the broker is not a URL");
    }
}
