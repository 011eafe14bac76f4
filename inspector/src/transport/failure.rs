//! What can go wrong before anything is said, with the way out and without secrets: the same for every broker.

use std::io;
use std::time::Duration;

use super::TransportError;
use crate::wire::url::{Protocol, Server};

/// Longest text of a server that is passed on, characters.
const WORDS_MAX: usize = 300;

/// No connection.
pub(super) fn unreachable(server: &Server, error: &io::Error) -> TransportError {
    TransportError::Unreachable {
        endpoint: server.endpoint(),
        reason: words(server, &error.to_string()),
    }
}

/// The connection ended.
pub(super) fn closed(server: &Server) -> TransportError {
    TransportError::Unreachable {
        endpoint: server.endpoint(),
        reason: "the connection was closed".to_owned(),
    }
}

/// No answer within `limit`.
pub(super) fn timed_out(server: &Server, action: &'static str, limit: Duration) -> TransportError {
    TransportError::Timeout {
        endpoint: server.endpoint(),
        action,
        seconds: limit.as_secs().max(1),
    }
}

/// TLS could not be set up.
pub(super) fn tls_broken(server: &Server, reason: String) -> TransportError {
    TransportError::Tls {
        endpoint: server.endpoint(),
        reason,
    }
}

/// The connection ended during the greeting. TLS 1.3 tells a client that its certificate is missing only after the handshake,
/// and what closes the connection may come before the words.
pub(super) fn ended_in_greeting(server: &Server, text: &str, tls_scheme: &str) -> TransportError {
    let text = words(server, text);
    match &server.tls {
        None => TransportError::Unreachable {
            endpoint: server.endpoint(),
            reason: format!(
                "it closed the connection during the greeting ({text}); if it wants TLS, write {tls_scheme}://"
            ),
        },
        Some(options) if options.certfile.is_none() => tls_broken(
            server,
            format!(
                "it closed the connection after the handshake ({text}); if it asks for our certificate, give \
                 ssl_certfile and ssl_keyfile"
            ),
        ),
        Some(_) => TransportError::Unreachable {
            endpoint: server.endpoint(),
            reason: format!("it closed the connection during the greeting ({text})"),
        },
    }
}

/// What TLS says in an error of a socket, also when it came with the first bytes after the handshake.
pub(super) fn tls_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The handshake failed, or a certificate was refused.
pub(super) fn handshake_failed(server: &Server, error: &io::Error) -> TransportError {
    match tls_in(error) {
        Some(tls) => tls_refused(server, tls),
        None if error.kind() == io::ErrorKind::UnexpectedEof => tls_broken(
            server,
            "it closed the connection; does it speak TLS on this port?".to_owned(),
        ),
        None => tls_broken(server, error.to_string()),
    }
}

/// TLS was set up and refused.
pub(super) fn tls_refused(server: &Server, error: &rustls::Error) -> TransportError {
    use rustls::CertificateError as Certificate;
    let remedy = match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            " (no trusted authority signed it: give the authority's certificate as ssl_ca_certs)"
        }
        rustls::Error::InvalidCertificate(Certificate::BadSignature) => {
            " (the authority in ssl_ca_certs has the right name and another key)"
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => {
            " (the host of the URL is not in the certificate; ssl_check_hostname=false stops this check)"
        }
        rustls::Error::InvalidCertificate(Certificate::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            " (the server shows an authority's certificate as its own: let that authority sign one for the server)"
        }
        rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired) => {
            " (the server asks for our certificate: give ssl_certfile and ssl_keyfile)"
        }
        rustls::Error::InvalidMessage(_) => " (does it speak TLS on this port?)",
        _ => "",
    };
    tls_broken(server, format!("{error}{remedy}"))
}

/// A server's words: short, on one line, and without the password, should a server or proxy repeat the command. Alone, a
/// user name may be a password without its colon.
pub(super) fn words(server: &Server, text: &str) -> String {
    let secrets = match (&server.username, &server.password) {
        (username, None) if server.protocol != Protocol::Amqp => username.as_deref(),
        (_, password) => password.as_deref(),
    };
    let mut text = text.replace(['\r', '\n'], " ");
    if let Some(secret) = secrets.filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
