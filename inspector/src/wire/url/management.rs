//! The URL of RabbitMQ's management: `http://[USER:PASSWORD@]HOST[:PORT][/PREFIX]`, or `https://`.

use super::parse::{credentials, split};
use super::{Address, CertificateCheck, Protocol, Server, Space, TlsOptions, UrlProblem};

/// Where management is, and as whom it is asked. `Display` and `Debug` show no user and no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementUrl {
    /// Address, user and password, TLS.
    pub server: Server,
    /// In front of `/api`, such as `/rabbit`; empty without one.
    pub prefix: String,
}

/// Management's own ports.
const PORT: u16 = 15_672;
const TLS_PORT: u16 = 15_671;

impl ManagementUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// When it is none of management. The text shows nothing that could be a secret.
    pub fn parse(text: &str) -> Result<Self, UrlProblem> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(UrlProblem::NoScheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => {
                return Err(UrlProblem::Scheme {
                    scheme: "of management".to_owned(),
                    remedy: "write http://HOST:15672 or https://HOST:15671",
                });
            }
        };
        let parts = split(rest)?;
        let (username, password) = credentials(&parts)?;
        let host = parts.host.to_ascii_lowercase();
        let port = parts.port.unwrap_or(if secure { 443 } else { 80 });
        let prefix = parts.path.trim_matches('/');
        Ok(Self {
            server: server(host, port, secure, username, password),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("/{prefix}")
            },
        })
    }

    /// Where it is by default beside a server of an AMQP broker; `None` for a server that has none.
    pub fn beside(broker: &Server) -> Option<Self> {
        let Address::Tcp { host, .. } = &broker.address else {
            return None;
        };
        if broker.protocol != Protocol::Amqp {
            return None;
        }
        let secure = broker.tls.is_some();
        let port = if secure { TLS_PORT } else { PORT };
        let url = Self {
            server: server(host.clone(), port, secure, None, None),
            prefix: String::new(),
        };
        Some(url.of(broker))
    }

    /// As the user of `broker`, unless it has its own, for the virtual host of `broker`.
    #[must_use]
    pub fn of(mut self, broker: &Server) -> Self {
        if self.server.username.is_none() {
            self.server.username.clone_from(&broker.username);
            self.server.password.clone_from(&broker.password);
        }
        if self.server.tls.is_some() && broker.tls.is_some() {
            self.server.tls.clone_from(&broker.tls);
        }
        self.server.space = broker.space.clone();
        self
    }

    /// Host and port, as HTTP's `Host` has them.
    pub fn authority(&self) -> String {
        match &self.server.address {
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix { .. } => "localhost".to_owned(),
        }
    }

    /// The broker's virtual host, percent-encoded.
    pub fn virtual_host(&self) -> String {
        let name = match &self.server.space {
            Space::VirtualHost(name) => name.as_str(),
            Space::Database(_) => "/",
        };
        percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
    }
}

fn server(
    host: String,
    port: u16,
    secure: bool,
    username: Option<String>,
    password: Option<String>,
) -> Server {
    let tls = TlsOptions {
        certificate: CertificateCheck::ChainAndHost,
        stated: true,
        ca_certs: None,
        certfile: None,
        keyfile: None,
    };
    Server {
        protocol: Protocol::Management,
        address: Address::Tcp { host, port },
        space: Space::VirtualHost("/".to_owned()),
        username,
        password,
        tls: secure.then_some(tls),
        heartbeat_seconds: None,
        connect_timeout_seconds: None,
        login_method: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::url::BrokerUrl;

    fn broker() -> BrokerUrl {
        BrokerUrl::parse("amqp://app:s3cret@mq/shop%2Feu").expect("it is a URL")
    }

    #[test]
    fn user_and_virtual_host_are_the_brokers_unless_others_are_given() {
        let broker = broker();
        let url = |text| {
            let url = ManagementUrl::parse(text).expect("it is a URL");
            url.of(broker.first())
        };
        let own = url("https://m:pw@mq");
        let url = url("http://mq:15672/rabbit/");
        assert_eq!(url.server.username.as_deref(), Some("app"));
        assert_eq!(
            (url.prefix.as_str(), url.virtual_host().as_str()),
            ("/rabbit", "shop%2Feu")
        );
        assert_eq!(url.authority(), "mq:15672");
        assert_eq!(own.server.password.as_deref(), Some("pw"));
        assert!(own.server.tls.is_some());
        assert!(!format!("{own:?}").contains("pw"));
    }

    #[test]
    fn beside_a_broker_it_is_at_its_usual_port() {
        let url = ManagementUrl::beside(broker().first()).expect("RabbitMQ has one");
        let port = Address::Tcp {
            host: "mq".into(),
            port: 15_672,
        };
        assert_eq!(url.server.address, port);
        let redis = BrokerUrl::parse("redis://h").expect("it is a URL");
        assert_eq!(ManagementUrl::beside(redis.first()), None);
    }

    #[test]
    fn what_is_none_is_refused_without_showing_it() {
        for text in ["mq:15672", "ftp://a:s3cret@h", "http://a:s3cret@h:x"] {
            let error = ManagementUrl::parse(text).expect_err(text);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
