//! Turns what lapin and the server say into the transport's errors, with the way out and without secrets.

use std::time::Duration;

use lapin::{Error, ErrorKind};

use super::super::TransportError;
use super::super::failure::{closed, ended_in_greeting, timed_out, tls_in, tls_refused, words};
use crate::wire::url::Server;

/// Reply codes of AMQP 0-9-1.
mod code {
    pub(super) const CONNECTION_FORCED: u16 = 320;
    pub(super) const ACCESS_REFUSED: u16 = 403;
    pub(super) const NOT_FOUND: u16 = 404;
    pub(super) const RESOURCE_LOCKED: u16 = 405;
    pub(super) const PRECONDITION_FAILED: u16 = 406;
    pub(super) const NOT_ALLOWED: u16 = 530;
}

/// The server's code and words, when it refused.
fn refusal(error: &Error) -> Option<(u16, &str)> {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => {
            Some((refusal.get_id(), refusal.get_message().as_str()))
        }
        _ => None,
    }
}

fn is(error: &Error, wanted: u16) -> bool {
    refusal(error).is_some_and(|(code, _)| code == wanted)
}

/// What was named is not there. A queue whose node is down is there.
pub(super) fn is_missing(error: &Error) -> bool {
    is(error, code::NOT_FOUND)
        && refusal(error).is_some_and(|(_, words)| !words.contains("is down"))
}

/// What is not there is a queue.
pub(super) fn names_a_queue(error: &Error) -> bool {
    is_missing(error) && refusal(error).is_some_and(|(_, words)| words.contains("no queue"))
}

/// A queue that belongs to another connection.
pub(super) fn is_locked(error: &Error) -> bool {
    is(error, code::RESOURCE_LOCKED)
}

/// It is there with other properties.
pub(super) fn is_different(error: &Error) -> bool {
    is(error, code::PRECONDITION_FAILED)
}

/// A right is missing.
pub(super) fn is_forbidden(error: &Error) -> bool {
    is(error, code::ACCESS_REFUSED)
}

/// Explains an error that came while connected.
pub(super) fn explain(
    server: &Server,
    action: &'static str,
    limit: Duration,
    error: &Error,
) -> TransportError {
    let endpoint = server.endpoint();
    match error.kind() {
        ErrorKind::ProtocolError(_) => {
            let (code, said) = refusal(error).unwrap_or_default();
            let reason = words(server, said);
            match code {
                code::ACCESS_REFUSED => TransportError::Forbidden {
                    endpoint,
                    action,
                    reason,
                },
                code::CONNECTION_FORCED => TransportError::Unreachable {
                    endpoint,
                    reason: format!("it closed the connection: {reason}"),
                },
                _ => TransportError::Answer {
                    endpoint,
                    action,
                    reason,
                },
            }
        }
        ErrorKind::MissingHeartbeatError => timed_out(server, "a heartbeat", limit),
        ErrorKind::InvalidChannelState(..)
        | ErrorKind::InvalidConnectionState(_)
        | ErrorKind::InvalidChannel(_) => closed(server),
        _ => TransportError::Unreachable {
            endpoint,
            reason: words(server, &error.to_string()),
        },
    }
}

/// Explains an error of the greeting: protocol, user and password, virtual host.
pub(super) fn greeting(server: &Server, limit: Duration, error: &Error) -> TransportError {
    let endpoint = server.endpoint();
    let said = |text: &str| words(server, text);
    match (refusal(error), error.kind()) {
        (Some((code::ACCESS_REFUSED, text)), _) => TransportError::Credentials {
            endpoint,
            reason: said(text),
        },
        (Some((code::NOT_ALLOWED, text)), _) if text.contains("refused") => {
            TransportError::Forbidden {
                endpoint,
                action: "the virtual host",
                reason: said(text),
            }
        }
        (Some((code::NOT_ALLOWED, text)), _) => TransportError::NoSuchDatabase {
            endpoint,
            reason: said(text),
        },
        (None, ErrorKind::IOError(io)) => match tls_in(io) {
            Some(tls) => tls_refused(server, tls),
            None => ended_in_greeting(server, &error.to_string(), "amqps"),
        },
        (None, ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_)) => {
            TransportError::Answer {
                endpoint,
                action: "the greeting",
                reason: "it does not speak AMQP 0-9-1; check host, port and scheme".to_owned(),
            }
        }
        _ => explain(server, "the greeting", limit, error),
    }
}

/// A right is missing: which one, in the words of `rabbitmqctl set_permissions`.
pub(super) fn name_the_right(error: TransportError, right: &str) -> TransportError {
    match error {
        TransportError::Forbidden {
            endpoint,
            action,
            reason,
        } => TransportError::Forbidden {
            endpoint,
            action,
            reason: format!("{reason}; give the user {right}"),
        },
        other => other,
    }
}
