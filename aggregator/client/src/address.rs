//! Where an aggregator listens. It resolves no names and opens nothing.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use tonic::codegen::http::uri::{Authority, PathAndQuery, Scheme};
use tonic::transport::Uri;

/// The port an aggregator listens on when it is not told otherwise; also the port of Flower, which it replaces.
pub const DEFAULT_PORT: u16 = 5555;

/// Host and port of an aggregator, shown as `http://host:port` or `https://host:port`.
///
/// It is read from `host`, `host:port`, `[v6]:port` (in clear) or the same after `http://` or `https://`. It never holds
/// credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    authority: Authority,
}

/// Why a text is not an [`Address`].
///
/// The text itself is repeated only where it cannot hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing was given.
    #[error("an address looks like 127.0.0.1:5555 or https://host:5555, and this one is empty")]
    Empty,
    /// It names a user or a password.
    #[error("an address holds no user or password; give host:port only")]
    Credentials,
    /// It begins with a scheme other than `http` and `https`.
    #[error("{0}:// is not supported, use http://host:port or https://host:port")]
    Scheme(String),
    /// It has a path, a query or a fragment.
    #[error("an address ends with the port; leave out what follows it")]
    Path,
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port (1 to 65535)")]
    Port(String),
    /// The host cannot be one.
    #[error("{0:?} is not a host name or address")]
    Host(String),
}

impl Address {
    /// Whether it is to be spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it names this machine, so that nothing said to it can be heard on a network.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost")
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// Host and port as a URI for a channel.
    pub(crate) fn uri(&self) -> Uri {
        let mut parts = tonic::codegen::http::uri::Parts::default();
        parts.scheme = Some(if self.tls {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        Uri::from_parts(parts).expect("scheme, authority and path together are a URI")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.contains('@') {
            return Err(AddressError::Credentials);
        }
        let (tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, _)) => return Err(AddressError::Scheme(scheme.to_owned())),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(AddressError::Path);
        }
        let (host, port) = split(rest)?;
        if host.is_empty() {
            return Err(AddressError::Host(host));
        }
        let authority = format!("{host}:{port}")
            .parse()
            .map_err(|_| AddressError::Host(host))?;
        Ok(Self { tls, authority })
    }
}

/// Host (an IPv6 address in brackets) and port.
fn split(text: &str) -> Result<(String, u16), AddressError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((format!("[{text}]"), DEFAULT_PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port_number(port)?),
        _ => (text, DEFAULT_PORT),
    };
    let v6 = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    if !v6 && host.contains([':', '[', ']']) {
        return Err(AddressError::Host(host.to_owned()));
    }
    Ok((host.to_owned(), port))
}

fn port_number(text: &str) -> Result<u16, AddressError> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(AddressError::Port(text.to_owned())),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_form_is_read() {
        for (text, shown) in [
            ("127.0.0.1:5555", "http://127.0.0.1:5555"),
            ("aggregator", "http://aggregator:5555"),
            (
                "http://aggregator.ns.svc:80/",
                "http://aggregator.ns.svc:80",
            ),
            ("HTTP://h:1", "http://h:1"),
            ("HTTPS://h", "https://h:5555"),
            ("::1", "http://[::1]:5555"),
            ("[::1]", "http://[::1]:5555"),
            ("http://[fe80::1]:6000", "http://[fe80::1]:6000"),
            ("  h:1 ", "http://h:1"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(address.uri().to_string(), format!("{shown}/"), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_a_reason() {
        for (text, error) in [
            ("", AddressError::Empty),
            ("ftp://h:1", AddressError::Scheme("ftp".into())),
            ("h:1/path", AddressError::Path),
            ("h:0", AddressError::Port("0".into())),
            ("h:99999", AddressError::Port("99999".into())),
            ("h:", AddressError::Port(String::new())),
            (":1", AddressError::Host(String::new())),
            ("[nope]:1", AddressError::Host("[nope]".into())),
            ("a b:1", AddressError::Host("a b".into())),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for (text, loopback) in [
            ("localhost:1", true),
            ("https://LocalHost", true),
            ("127.8.8.8", true),
            ("[::1]:5", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
            ("[::2]", false),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_repeated() {
        for text in [
            "http://user:hunter2@h:1",
            "hunter2@h",
            "https://u:hunter2@h",
        ] {
            let error = text
                .parse::<Address>()
                .expect_err("credentials are refused");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
        }
    }
}
