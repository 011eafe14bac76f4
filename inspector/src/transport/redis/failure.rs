//! Turns what the client library says into the transport's errors, with the way out and without secrets.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerError};

use super::super::TransportError;
use super::super::failure::{closed, ended_in_greeting, timed_out, tls_in, tls_refused, words};
use crate::wire::url::Server;

const RESP3_NEEDED: &str =
    "it does not speak RESP3, which is needed (Redis 6 or newer, any Valkey)";

/// Explains an error that came while connected.
pub(super) fn explain(
    server: &Server,
    action: &'static str,
    limit: Duration,
    error: &RedisError,
) -> TransportError {
    let endpoint = server.endpoint();
    if let Some(tls) = tls_failure(error) {
        return tls_refused(server, tls);
    }
    if error.is_timeout() {
        return timed_out(server, action, limit);
    }
    if let Some((code, words)) = refusal(error) {
        return refused(server, action, &code, &words);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => TransportError::Credentials {
            endpoint,
            reason: words(server, &error.to_string()),
        },
        ErrorKind::RESP3NotSupported => TransportError::Answer {
            endpoint,
            action,
            reason: RESP3_NEEDED.to_owned(),
        },
        ErrorKind::Parse => {
            let reason =
                "it does not speak the Redis protocol; check host, port and scheme".to_owned();
            TransportError::Answer {
                endpoint,
                action,
                reason,
            }
        }
        ErrorKind::Io if error.is_connection_dropped() => closed(server),
        ErrorKind::Io => TransportError::Unreachable {
            endpoint,
            reason: words(server, &error.to_string()),
        },
        _ => TransportError::Answer {
            endpoint,
            action,
            reason: words(server, &error.to_string()),
        },
    }
}

/// Explains an error of the greeting: HELLO with user and password, then SELECT.
pub(super) fn greeting(server: &Server, limit: Duration, error: &RedisError) -> TransportError {
    let text = error.to_string();
    let detail = || words(server, error.detail().unwrap_or(&text));
    if text.starts_with("Redis server refused to switch database") {
        let (endpoint, reason) = (server.endpoint(), detail());
        return if reason.contains("no permissions") {
            TransportError::Forbidden {
                endpoint,
                action: "SELECT",
                reason,
            }
        } else {
            TransportError::NoSuchDatabase { endpoint, reason }
        };
    }
    match explain(server, "HELLO 3", limit, error) {
        TransportError::Unreachable { .. } if error.is_connection_dropped() => {
            ended_in_greeting(server, &text, "rediss")
        }
        other => other,
    }
}

/// The TLS error inside, also when it came with the first bytes after the handshake.
fn tls_failure(error: &RedisError) -> Option<&rustls::Error> {
    let source = error.source()?;
    let io = match source.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => shared.downcast_ref::<io::Error>(),
        None => source.downcast_ref::<io::Error>(),
    };
    tls_in(io?)
}

/// Code and words of the server's refusal; of several, the one that says most.
fn refusal(error: &RedisError) -> Option<(String, String)> {
    let refusals = error.clone().into_server_errors()?;
    let telling = |(_, refusal): &&(usize, ServerError)| refusal.code() != "EXECABORT";
    let (_, refusal) = refusals.iter().find(telling).or_else(|| refusals.first())?;
    let words = refusal.details().unwrap_or(refusal.code());
    Some((refusal.code().to_owned(), words.to_owned()))
}

fn refused(server: &Server, action: &'static str, code: &str, said: &str) -> TransportError {
    let endpoint = server.endpoint();
    let reason = words(server, said);
    match code {
        "NOAUTH" => TransportError::Credentials {
            endpoint,
            reason: "it asks for a password".to_owned(),
        },
        "WRONGPASS" => {
            let only_a_name = server.username.is_some() && server.password.is_none();
            let hint = if only_a_name {
                " (redis://NAME@HOST gives a user name; a password needs a colon: redis://:PASSWORD@HOST)"
            } else {
                ""
            };
            TransportError::Credentials {
                endpoint,
                reason: format!("{reason}{hint}"),
            }
        }
        "NOPERM" | "DENIED" => TransportError::Forbidden {
            endpoint,
            action,
            reason,
        },
        "NOPROTO" => TransportError::Answer {
            endpoint,
            action,
            reason: RESP3_NEEDED.to_owned(),
        },
        "ERR" => TransportError::Answer {
            endpoint,
            action,
            reason,
        },
        code => TransportError::Answer {
            endpoint,
            action,
            reason: format!("{code} {reason}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::url::BrokerUrl;

    fn said(url: &str, reply: &str) -> TransportError {
        let url = BrokerUrl::parse(url).expect("the URLs of these tests are valid");
        let value =
            redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("an error reply");
        let error = value
            .extract_error()
            .expect_err("an error reply is an error");
        greeting(url.first(), Duration::from_secs(5), &error)
    }

    #[test]
    fn a_server_that_repeats_the_command_does_not_give_the_password_away() {
        let reply =
            "ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `default` `s3cret`";
        let error = said("redis://:s3cret@h/0", reply);
        assert!(matches!(error, TransportError::Answer { .. }), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let error = said("redis://s3cret@h/0", "WRONGPASS no user `s3cret`");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(error.to_string().contains("needs a colon"), "{error}");
    }

    #[test]
    fn codes_become_the_errors_of_the_contract() {
        let credentials = said(
            "redis://h/0",
            "NOAUTH HELLO must be called with the client already authenticated",
        );
        assert!(
            matches!(credentials, TransportError::Credentials { .. }),
            "{credentials}"
        );
        let forbidden = said(
            "redis://h/0",
            "NOPERM this user has no permissions to run the 'psubscribe' command",
        );
        assert!(
            matches!(forbidden, TransportError::Forbidden { .. }),
            "{forbidden}"
        );
        let old = said("redis://h/0", "NOPROTO unsupported protocol version");
        assert!(old.to_string().contains("RESP3"), "{old}");
        let loading = said(
            "redis://h/0",
            "LOADING Redis is loading the dataset in memory",
        );
        assert!(
            loading.to_string().contains("LOADING Redis is loading"),
            "{loading}"
        );
    }

    #[test]
    fn long_words_are_cut() {
        let error = said("redis://h/0", &format!("ERR {}", "x".repeat(5000)));
        assert!(error.to_string().chars().count() < 450, "{error}");
    }
}
