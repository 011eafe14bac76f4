//! The parser behind [`BrokerUrl::parse`]: Python's `urlsplit` as far as kombu uses it, then kombu's own rules.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{
    Address, BrokerUrl, BrokerUrlError, CertificateCheck, Protocol, Server, Space, TlsOptions,
    UrlProblem,
};

/// The parts of a URL, still percent-encoded.
pub(super) struct Parts<'a> {
    username: &'a str,
    password: &'a str,
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    /// Without its first slash.
    pub(super) path: &'a str,
    query: &'a str,
}

/// What a scheme means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Redis { tls: bool },
    Socket,
    Sentinel,
    Amqp { tls: bool },
}

/// Query options that kombu's connection takes, decoded.
#[derive(Default)]
struct Options {
    tls: TlsQuery,
    heartbeat_seconds: Option<u32>,
    connect_timeout_seconds: Option<u32>,
    login_method: Option<String>,
    virtual_host: Option<String>,
}

/// The `ssl_*` options.
#[derive(Default)]
struct TlsQuery {
    any: bool,
    reqs: Option<CertReqs>,
    check_hostname: Option<bool>,
    ca_certs: Option<PathBuf>,
    certfile: Option<PathBuf>,
    keyfile: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CertReqs {
    None,
    /// Python's `CERT_OPTIONAL`, the same as required for a client, and `CERT_REQUIRED`.
    Required,
}

/// Of all Sentinels but the first, kombu takes the address only (`SentinelChannel._sentinel_managed_pool`).
pub(super) fn broker_url(text: &str) -> Result<BrokerUrl, BrokerUrlError> {
    let text = text.trim();
    let entries: Vec<&str> = text.split(';').map(str::trim).collect();
    let position = |index: usize| if entries.len() > 1 { index + 1 } else { 0 };
    let mut servers: Vec<Server> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let fail = |problem| BrokerUrlError {
            position: position(index),
            problem,
        };
        let mut server = server(entry).map_err(fail)?;
        if let Some(first) = servers.first() {
            if first.protocol != server.protocol {
                return Err(fail(UrlProblem::MixedProtocols));
            }
            if server.protocol == Protocol::Sentinel {
                server = Server {
                    address: server.address,
                    ..first.clone()
                };
            }
            if first.space != server.space {
                return Err(fail(UrlProblem::MixedSpaces));
            }
        }
        servers.push(server);
    }
    Ok(BrokerUrl { servers })
}

fn server(text: &str) -> Result<Server, UrlProblem> {
    if text.is_empty() {
        return Err(UrlProblem::Empty);
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlProblem::NoScheme)?;
    let scheme = scheme_of(scheme)?;
    let parts = split(rest)?;
    let options = options(scheme, parts.query)?;
    let (username, password) = credentials(&parts)?;
    let server = Server {
        protocol: protocol(scheme),
        address: address(scheme, &parts)?,
        space: space(scheme, &parts, &options)?,
        username,
        password,
        tls: tls(scheme, options.tls)?,
        heartbeat_seconds: options.heartbeat_seconds,
        connect_timeout_seconds: options.connect_timeout_seconds,
        login_method: options.login_method,
    };
    Ok(match server.protocol {
        Protocol::Amqp => amqp_defaults(server),
        Protocol::Redis | Protocol::Sentinel | Protocol::Management => server,
    })
}

/// `kombu/transport/pyamqp.py`, `default_connection_params`.
fn amqp_defaults(mut server: Server) -> Server {
    server.username.get_or_insert_with(|| "guest".to_owned());
    server.password.get_or_insert_with(|| "guest".to_owned());
    server
}

/// Which scheme it is, in any case of letters. Shown in the error only when it looks like a scheme.
fn scheme_of(scheme: &str) -> Result<Scheme, UrlProblem> {
    let lower = scheme.to_ascii_lowercase();
    let remedy = match lower.as_str() {
        "redis" => return Ok(Scheme::Redis { tls: false }),
        "rediss" => return Ok(Scheme::Redis { tls: true }),
        "redis+socket" => return Ok(Scheme::Socket),
        "sentinel" => return Ok(Scheme::Sentinel),
        "amqp" | "pyamqp" | "librabbitmq" => return Ok(Scheme::Amqp { tls: false }),
        "amqps" => return Ok(Scheme::Amqp { tls: true }),
        "valkey" => "Celery speaks to Valkey as to Redis: write redis://",
        "valkeys" => "Celery speaks to Valkey as to Redis: write rediss://",
        "redis-cluster" | "redis+cluster" | "rediss-cluster" => {
            "Celery has no transport for Redis Cluster: write redis:// of a server that is not clustered"
        }
        "unix" | "socket" | "redis+unix" | "unix+redis" => {
            "write redis+socket:///run/redis.sock?virtual_host=0 for a Unix socket"
        }
        "redis+sentinel" | "redis-sentinel" | "rediss+sentinel" => {
            "write sentinel://HOST:26379/0;sentinel://HOST2:26379/0 and the transport option master_name"
        }
        "http" | "https" | "tcp" | "tls" | "ssl" => {
            "write redis://, rediss:// (TLS), amqp:// or amqps:// (TLS)"
        }
        "rabbitmq" => "write amqp:// or amqps:// (TLS)",
        _ => "known are redis, rediss, redis+socket, sentinel, amqp and amqps",
    };
    let named = !lower.is_empty()
        && lower
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !named {
        return Err(UrlProblem::NoScheme);
    }
    Err(UrlProblem::Scheme {
        scheme: lower,
        remedy,
    })
}

fn protocol(scheme: Scheme) -> Protocol {
    match scheme {
        Scheme::Redis { .. } | Scheme::Socket => Protocol::Redis,
        Scheme::Sentinel => Protocol::Sentinel,
        Scheme::Amqp { .. } => Protocol::Amqp,
    }
}

/// Python's `urlsplit` of what follows `://`.
pub(super) fn split(rest: &str) -> Result<Parts<'_>, UrlProblem> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let tail = tail.split('#').next().unwrap_or_default();
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let (user, hostport) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, port) = match hostport.split_once('[') {
        Some((before, bracketed)) => {
            let (host, after) = bracketed.split_once(']').ok_or(UrlProblem::Host)?;
            if !before.is_empty() || !(after.is_empty() || after.starts_with(':')) {
                return Err(UrlProblem::Host);
            }
            (host, after.strip_prefix(':').unwrap_or_default())
        }
        None if hostport.contains(']') => return Err(UrlProblem::Host),
        None if bare_ipv6(hostport) => return Err(UrlProblem::Host),
        None => hostport.split_once(':').unwrap_or((hostport, "")),
    };
    Ok(Parts {
        username,
        password,
        host,
        port: port_of(port)?,
        path: path.strip_prefix('/').unwrap_or(path),
        query,
    })
}

/// An IPv6 address without its brackets.
fn bare_ipv6(hostport: &str) -> bool {
    hostport.matches(':').count() > 1
        && hostport.bytes().all(|b| b == b':' || b.is_ascii_hexdigit())
}

/// `None` when it is absent or 0: kombu takes the default then.
fn port_of(port: &str) -> Result<Option<u16>, UrlProblem> {
    if port.is_empty() {
        return Ok(None);
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UrlProblem::Port);
    }
    let number: u16 = port.parse().map_err(|_| UrlProblem::Port)?;
    Ok((number != 0).then_some(number))
}

/// User and password, decoded.
pub(super) fn credentials(
    parts: &Parts<'_>,
) -> Result<(Option<String>, Option<String>), UrlProblem> {
    let username = text_of(parts.username, "user name")?;
    Ok((username, text_of(parts.password, "password")?))
}

/// Percent-decodes; empty is `None`, as in `kombu/utils/url.py`.
fn text_of(encoded: &str, part: &'static str) -> Result<Option<String>, UrlProblem> {
    if encoded.is_empty() {
        return Ok(None);
    }
    let text = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| UrlProblem::Encoding { part })?;
    Ok(Some(text.into_owned()))
}

fn address(scheme: Scheme, parts: &Parts<'_>) -> Result<Address, UrlProblem> {
    if scheme == Scheme::Socket {
        if !parts.host.is_empty() || parts.port.is_some() {
            return Err(UrlProblem::SocketHost);
        }
        let path = text_of(parts.path, "path")?.ok_or(UrlProblem::SocketPath)?;
        return Ok(Address::Unix {
            path: PathBuf::from(format!("/{path}")),
        });
    }
    let default_port = match scheme {
        Scheme::Redis { .. } | Scheme::Socket => 6379,
        Scheme::Sentinel => 26379,
        Scheme::Amqp { tls: false } => 5672,
        Scheme::Amqp { tls: true } => 5671,
    };
    let mut host =
        text_of(&lower_host(parts.host), "host")?.unwrap_or_else(|| "127.0.0.1".to_owned());
    if matches!(scheme, Scheme::Amqp { .. }) && host == "localhost" {
        "127.0.0.1".clone_into(&mut host); // as kombu/transport/pyamqp.py does
    }
    Ok(Address::Tcp {
        host,
        port: parts.port.unwrap_or(default_port),
    })
}

/// Python lowers the host but not an IPv6 zone after `%`.
fn lower_host(host: &str) -> String {
    match host.split_once('%') {
        Some((name, zone)) => format!("{}%{zone}", name.to_lowercase()),
        None => host.to_lowercase(),
    }
}

fn space(scheme: Scheme, parts: &Parts<'_>, options: &Options) -> Result<Space, UrlProblem> {
    match scheme {
        Scheme::Amqp { .. } => {
            let name = text_of(parts.path, "virtual host")?.unwrap_or_else(|| "/".to_owned());
            Ok(Space::VirtualHost(name))
        }
        Scheme::Socket => database(
            options.virtual_host.as_deref().unwrap_or_default(),
            "give it as ?virtual_host=0",
        ),
        Scheme::Redis { .. } | Scheme::Sentinel => {
            let path = text_of(parts.path, "database")?.unwrap_or_default();
            database(&path, "in user and password write / as %2F")
        }
    }
}

/// `Channel._prepare_virtual_host` of `kombu/transport/redis.py`.
fn database(path: &str, remedy: &'static str) -> Result<Space, UrlProblem> {
    if path.is_empty() || path == "/" {
        return Ok(Space::Database(0));
    }
    let number = path.strip_prefix('/').unwrap_or(path).trim();
    match number.parse::<i64>() {
        Ok(number) if number >= 0 => Ok(Space::Database(number)),
        _ => Err(UrlProblem::Database { remedy }),
    }
}

fn options(scheme: Scheme, query: &str) -> Result<Options, UrlProblem> {
    let mut options = Options::default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if value.is_empty() {
            continue; // Python's parse_qsl drops them
        }
        let name = query_text(name)?;
        let value = query_text(value)?;
        match name.as_str() {
            "virtual_host" if scheme == Scheme::Socket => options.virtual_host = Some(value),
            // redis-py takes these on a socket; they change nothing that is seen from here.
            "socket_timeout" | "client_name" | "health_check_interval"
                if scheme == Scheme::Socket => {}
            "heartbeat" => options.heartbeat_seconds = Some(seconds("heartbeat", &value)?),
            "connect_timeout" => {
                options.connect_timeout_seconds = Some(seconds("connect_timeout", &value)?);
            }
            "login_method" => options.login_method = Some(value),
            "insist" => {} // RabbitMQ has ignored it since AMQP 0-9
            tls if tls.starts_with("ssl_") && scheme != Scheme::Socket => {
                options.tls.set(tls, value)?;
            }
            other => return Err(refused(scheme, other)),
        }
    }
    Ok(options)
}

/// Decodes a part of the query, in which `+` is a space.
fn query_text(encoded: &str) -> Result<String, UrlProblem> {
    let spaced = encoded.replace('+', " ");
    let text = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| UrlProblem::Encoding { part: "query" })?;
    Ok(text.into_owned())
}

fn seconds(name: &'static str, value: &str) -> Result<u32, UrlProblem> {
    // kombu takes fractions; whole seconds are what AMQP carries.
    let seconds: f64 = value
        .parse()
        .ok()
        .filter(|seconds: &f64| (0.0..=65535.0).contains(seconds))
        .ok_or(UrlProblem::OptionValue {
            name,
            expected: "a number of seconds",
        })?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: 0 to 65535"
    )]
    let whole = seconds.round() as u32;
    Ok(whole)
}

/// Why kombu refuses an option, and what is meant by it.
fn refused(scheme: Scheme, name: &str) -> UrlProblem {
    let remedy = match name {
        "db" if scheme == Scheme::Socket => "give the database of a socket as ?virtual_host=0",
        "db" | "virtual_host" => "give the database after the host, such as redis://HOST:6379/3",
        "ssl" => "write rediss:// (or amqps://) for TLS",
        "password" | "username" | "user" | "userid" => {
            "give them before the host: redis://USER:PASSWORD@HOST"
        }
        "credential_provider" => "it names Python code; give user and password in the URL",
        "protocol" => "the protocol is chosen here; leave it out",
        "master_name" | "global_keyprefix" | "fanout_prefix" | "fanout_patterns"
        | "priority_steps" | "sep" | "visibility_timeout" => {
            "it is a transport option: --transport-option NAME=VALUE"
        }
        name if name.starts_with("ssl_") && scheme == Scheme::Socket => "a Unix socket has no TLS",
        name if name.starts_with("ssl_") => {
            "of the ssl_* options, ssl_cert_reqs, ssl_ca_certs, ssl_certfile, ssl_keyfile and ssl_check_hostname are known"
        }
        _ => "kombu refuses it in the URL too; leave it out, or write ? in a password as %3F",
    };
    // What is no plain word may be a part of a password with a ? in it.
    let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    UrlProblem::Option {
        name: if plain {
            name.to_owned()
        } else {
            "after ?".to_owned()
        },
        remedy,
    }
}

/// What redis-py makes of `ssl=True` and these options.
pub(super) fn redis_py_tls(
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<TlsOptions, UrlProblem> {
    let mut query = TlsQuery {
        any: true,
        ..TlsQuery::default()
    };
    for (name, value) in options {
        query.set(&name, value)?;
    }
    let options = tls(Scheme::Redis { tls: true }, query)?;
    Ok(options.expect("the scheme says that TLS is used"))
}

impl TlsQuery {
    fn set(&mut self, name: &str, value: String) -> Result<(), UrlProblem> {
        match name {
            "ssl_cert_reqs" => self.reqs = Some(cert_reqs(&value)?),
            "ssl_ca_certs" => self.ca_certs = Some(PathBuf::from(value)),
            "ssl_certfile" => self.certfile = Some(PathBuf::from(value)),
            "ssl_keyfile" => self.keyfile = Some(PathBuf::from(value)),
            "ssl_check_hostname" => {
                self.check_hostname = Some(!value.eq_ignore_ascii_case("false"));
            }
            other => return Err(refused(Scheme::Redis { tls: true }, other)),
        }
        self.any = true;
        Ok(())
    }
}

/// `parse_ssl_cert_reqs` of `kombu/utils/url.py`.
fn cert_reqs(value: &str) -> Result<CertReqs, UrlProblem> {
    match value {
        "none" | "CERT_NONE" => Ok(CertReqs::None),
        "optional" | "CERT_OPTIONAL" | "required" | "CERT_REQUIRED" => Ok(CertReqs::Required),
        _ => Err(UrlProblem::OptionValue {
            name: "ssl_cert_reqs",
            expected: "none, optional, required, CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED",
        }),
    }
}

/// Whether and how TLS is used.
///
/// On `rediss://` without any `ssl_*` option kombu checks nothing (`Connection._init_params`); with some but without
/// `ssl_cert_reqs` redis-py's default holds, which is required with the host name. py-amqp checks the chain but not the host.
fn tls(scheme: Scheme, query: TlsQuery) -> Result<Option<TlsOptions>, UrlProblem> {
    let used = query.any
        || matches!(
            scheme,
            Scheme::Redis { tls: true } | Scheme::Amqp { tls: true }
        );
    if !used {
        return Ok(None);
    }
    if query.keyfile.is_some() && query.certfile.is_none() {
        return Err(UrlProblem::OptionValue {
            name: "ssl_keyfile",
            expected: "given together with ssl_certfile",
        });
    }
    let amqp = matches!(scheme, Scheme::Amqp { .. });
    let certificate = match query.reqs {
        Some(CertReqs::None) => CertificateCheck::Off,
        None if !amqp && !query.any => CertificateCheck::Off,
        Some(CertReqs::Required) | None if query.check_hostname.unwrap_or(!amqp) => {
            CertificateCheck::ChainAndHost
        }
        Some(CertReqs::Required) | None => CertificateCheck::Chain,
    };
    Ok(Some(TlsOptions {
        certificate,
        stated: query.reqs.is_some(),
        ca_certs: query.ca_certs,
        certfile: query.certfile,
        keyfile: query.keyfile,
    }))
}
