//! What kombu 5.7.0 with redis-py 8.1.0 made of these URLs: `Connection(url)`, then `Channel._connparams()` for Redis and
//! `default_connection_params` for AMQP.

use super::*;

fn parse(text: &str) -> BrokerUrl {
    BrokerUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn problem(text: &str) -> String {
    match BrokerUrl::parse(text) {
        Ok(url) => panic!("{text} was taken as {url}"),
        Err(error) => error.to_string(),
    }
}

/// URL, host, port, user, password, database.
type RedisRow = (
    &'static str,
    &'static str,
    u16,
    Option<&'static str>,
    Option<&'static str>,
    i64,
);

#[rustfmt::skip]
const REDIS: &[RedisRow] = &[
    ("redis://", "127.0.0.1", 6379, None, None, 0),
    ("redis:///", "127.0.0.1", 6379, None, None, 0),
    ("redis://h", "h", 6379, None, None, 0),
    ("redis://H.Example", "h.example", 6379, None, None, 0),
    ("redis://h:6380/3", "h", 6380, None, None, 3),
    ("redis://h//3", "h", 6379, None, None, 3),
    ("redis://h/%2F3", "h", 6379, None, None, 3),
    ("redis://h/ 3", "h", 6379, None, None, 3),
    ("redis://h/+3", "h", 6379, None, None, 3),
    ("redis://:pw@h/1", "h", 6379, None, Some("pw"), 1),
    ("redis://pw@h", "h", 6379, Some("pw"), None, 0),
    ("redis://user:pw@h", "h", 6379, Some("user"), Some("pw"), 0),
    ("redis://us%40er:p%2Fw%3A%40@h", "h", 6379, Some("us@er"), Some("p/w:@"), 0),
    ("redis://user:p@w@h", "h", 6379, Some("user"), Some("p@w"), 0),
    ("redis://user:p:w@h", "h", 6379, Some("user"), Some("p:w"), 0),
    ("redis://user:@h", "h", 6379, Some("user"), None, 0),
    ("redis://:@h", "h", 6379, None, None, 0),
    ("redis://:a+b@h", "h", 6379, None, Some("a+b"), 0),
    ("redis://[::1]:6380/2", "::1", 6380, None, None, 2),
    ("redis://[fe80::1%25eth0]/2", "fe80::1%eth0", 6379, None, None, 2),
    ("redis://h:/1", "h", 6379, None, None, 1),
    ("redis://h:0/1", "h", 6379, None, None, 1),
    ("redis://h/0#frag", "h", 6379, None, None, 0),
    ("redis://h/0?x=", "h", 6379, None, None, 0),
    ("redis://h/0?heartbeat=30&connect_timeout=3&insist=1&login_method=PLAIN", "h", 6379, None, None, 0),
    ("REDIS://h/1", "h", 6379, None, None, 1),
    ("redis://h/1\n", "h", 6379, None, None, 1),
    ("redis://a/1;redis://b/1", "a", 6379, None, None, 1),
    ("sentinel://:pw@h:26379/2;sentinel://h2:26380/2", "h", 26379, None, Some("pw"), 2),
    ("sentinel://:pw@h/2;sentinel://h2:26380", "h", 26379, None, Some("pw"), 2),
    ("sentinel://h", "h", 26379, None, None, 0),
];

#[test]
fn redis_urls_mean_what_they_mean_to_kombu() {
    for (text, host, port, username, password, database) in REDIS {
        let url = parse(text);
        let server = url.first();
        assert_eq!(
            server.address,
            Address::Tcp {
                host: (*host).to_owned(),
                port: *port
            },
            "{text}"
        );
        assert_eq!(server.username.as_deref(), *username, "{text}");
        assert_eq!(server.password.as_deref(), *password, "{text}");
        assert_eq!(url.database(), Some(*database), "{text}");
        assert_eq!(server.tls, None, "{text}");
    }
}

/// URL, path, user, password, database.
type SocketRow = (
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    i64,
);

#[rustfmt::skip]
const SOCKETS: &[SocketRow] = &[
    ("redis+socket:///tmp/r.sock", "/tmp/r.sock", None, None, 0),
    ("redis+socket:///tmp/r.sock?virtual_host=2", "/tmp/r.sock", None, None, 2),
    ("redis+socket:///tmp/r.sock?virtual_host=/2", "/tmp/r.sock", None, None, 2),
    ("redis+socket:///tmp/r.sock?virtual_host=2&socket_timeout=1", "/tmp/r.sock", None, None, 2),
    ("redis+socket://:pw@/tmp/r%20x.sock", "/tmp/r x.sock", None, Some("pw"), 0),
    ("redis+socket://user:pw@/tmp/r.sock", "/tmp/r.sock", Some("user"), Some("pw"), 0),
    ("REDIS+socket:///x", "/x", None, None, 0), // kombu refuses upper case here, for no reason
];

#[test]
fn socket_urls_mean_what_they_mean_to_kombu() {
    for (text, path, username, password, database) in SOCKETS {
        let url = parse(text);
        let server = url.first();
        assert_eq!(
            server.address,
            Address::Unix {
                path: PathBuf::from(path)
            },
            "{text}"
        );
        assert_eq!(server.username.as_deref(), *username, "{text}");
        assert_eq!(server.password.as_deref(), *password, "{text}");
        assert_eq!(url.database(), Some(*database), "{text}");
    }
}

/// URL, host, port, user, password, virtual host.
type AmqpRow = (
    &'static str,
    &'static str,
    u16,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const AMQP: &[AmqpRow] = &[
    ("amqp://", "127.0.0.1", 5672, "guest", "guest", "/"),
    ("amqp://u:p@h/", "h", 5672, "u", "p", "/"),
    ("amqp://u:p@h//", "h", 5672, "u", "p", "/"),
    ("amqp://u:p@h/%2F", "h", 5672, "u", "p", "/"),
    ("amqp://u:p@h", "h", 5672, "u", "p", "/"),
    ("amqp://h/my/vhost", "h", 5672, "guest", "guest", "my/vhost"),
    ("amqp://h/%2Fprod", "h", 5672, "guest", "guest", "/prod"),
    ("amqp://h/v%20h", "h", 5672, "guest", "guest", "v h"),
    ("amqp://localhost/v?heartbeat=30", "127.0.0.1", 5672, "guest", "guest", "v"),
    ("pyamqp://h", "h", 5672, "guest", "guest", "/"),
    ("librabbitmq://h", "h", 5672, "guest", "guest", "/"),
    ("amqp://@h", "h", 5672, "guest", "guest", "/"),
    ("amqp://:@h", "h", 5672, "guest", "guest", "/"),
    ("amqps://h", "h", 5671, "guest", "guest", "/"),
    ("amqp://a/v;amqp://b/v", "a", 5672, "guest", "guest", "v"),
];

#[test]
fn amqp_urls_mean_what_they_mean_to_kombu() {
    for (text, host, port, username, password, virtual_host) in AMQP {
        let url = parse(text);
        let server = url.first();
        assert_eq!(
            server.address,
            Address::Tcp {
                host: (*host).to_owned(),
                port: *port
            },
            "{text}"
        );
        assert_eq!(server.username.as_deref(), Some(*username), "{text}");
        assert_eq!(server.password.as_deref(), Some(*password), "{text}");
        assert_eq!(
            server.space,
            Space::VirtualHost((*virtual_host).to_owned()),
            "{text}"
        );
    }
    assert_eq!(
        parse("amqp://h/v?heartbeat=30").first().heartbeat_seconds,
        Some(30)
    );
}

#[test]
fn all_sentinels_share_what_the_first_says() {
    let url = parse("sentinel://:pw@h/2;sentinel://h2:26380");
    let second = &url.servers()[1];
    assert_eq!(second.endpoint(), "sentinel://h2:26380/2");
    assert_eq!(second.password.as_deref(), Some("pw"));
}

#[test]
fn certificates_are_checked_where_kombu_and_redis_py_check_them() {
    use CertificateCheck::{Chain, ChainAndHost, Off};
    let rows: &[(&str, CertificateCheck, bool)] = &[
        ("rediss://h", Off, false),
        ("redis://h/0?ssl_cert_reqs=none", Off, true),
        ("redis://h/0?ssl_ca_certs=/x", ChainAndHost, false),
        ("rediss://h/0?ssl_cert_reqs=required", ChainAndHost, true),
        (
            "rediss://h/0?ssl_cert_reqs=CERT_OPTIONAL",
            ChainAndHost,
            true,
        ),
        ("rediss://h/0?ssl_ca_certs=/etc/ca.pem", ChainAndHost, false),
        (
            "rediss://h/0?ssl_cert_reqs=required&ssl_check_hostname=False",
            Chain,
            true,
        ),
        (
            "rediss://h/0?ssl_check_hostname=0&ssl_cert_reqs=required",
            ChainAndHost,
            true,
        ),
        (
            "rediss://h/0?ssl_keyfile=/k&ssl_certfile=/c",
            ChainAndHost,
            false,
        ),
        ("amqps://h", Chain, false),
        ("amqps://h?ssl_cert_reqs=none&ssl_ca_certs=/x", Off, true),
    ];
    for (text, certificate, stated) in rows {
        let url = parse(text);
        let tls = url
            .first()
            .tls
            .as_ref()
            .unwrap_or_else(|| panic!("{text} has no TLS"));
        assert_eq!(
            (tls.certificate, tls.stated),
            (*certificate, *stated),
            "{text}"
        );
    }
    let url =
        parse("rediss://h/0?ssl_ca_certs=%2Fetc%2Fca%20x.pem&ssl_certfile=/c+d&ssl_keyfile=/k");
    let tls = url.first().tls.as_ref().expect("rediss has TLS");
    assert_eq!(
        tls.ca_certs.as_deref(),
        Some(std::path::Path::new("/etc/ca x.pem"))
    );
    assert_eq!(tls.certfile.as_deref(), Some(std::path::Path::new("/c d")));
    assert_eq!(tls.keyfile.as_deref(), Some(std::path::Path::new("/k")));
}

#[test]
fn what_kombu_refuses_is_refused_with_the_way_out() {
    let rows: &[(&str, &str)] = &[
        ("", "empty"),
        ("h:6379", "redis://HOST:6379/0"),
        ("redis://h///3", "not a whole number"),
        ("redis://h/abc", "not a whole number"),
        ("redis://h/3/", "not a whole number"),
        ("redis://h/3.0", "not a whole number"),
        ("redis://h:99999/1", "0 to 65535"),
        ("redis://h:abc/1", "0 to 65535"),
        ("redis://::1/1", "in brackets"),
        ("redis://[::1/1", "in brackets"),
        (
            "redis://h/0?db=3",
            "option db is not accepted; give the database after the host",
        ),
        ("redis://h/0?virtual_host=5", "option virtual_host"),
        ("redis://h/0?socket_timeout=5", "option socket_timeout"),
        ("redis://h/0?ssl=true", "rediss://"),
        ("redis://h/0?credential_provider=a.B", "Python code"),
        ("redis://h/0?global_keyprefix=x", "--transport-option"),
        (
            "rediss://h/0?ssl_cert_reqs=REQUIRED",
            "ssl_cert_reqs must be none, optional, required",
        ),
        ("rediss://h/0?ssl_foo=1", "option ssl_foo"),
        ("rediss://h/0?ssl_keyfile=/k", "together with ssl_certfile"),
        ("redis+socket:///tmp/r.sock?db=2", "?virtual_host=0"),
        ("redis+socket://tmp/r.sock", "three slashes"),
        ("redis+socket://", "path of the socket is missing"),
        ("unix:///x", "redis+socket://"),
        ("socket:///x", "redis+socket://"),
        ("valkey://h", "write redis://"),
        ("redis-cluster://h", "no transport for Redis Cluster"),
        ("redis+sentinel://h", "sentinel://HOST:26379/0"),
        ("kafka://h", "known are redis, rediss"),
        ("amqp://h?foo=1", "option foo"),
        (
            "amqp://h?heartbeat=often",
            "heartbeat must be a number of seconds",
        ),
        (
            "redis://a/1;b",
            "server 2 of the list in the broker URL: it has no scheme",
        ),
        ("redis://a/1;redis://b/2", "same database"),
        ("redis://a/1;amqp://b", "of one kind"),
        ("redis://:%ff@h", "password is not UTF-8"),
    ];
    for (text, part) in rows {
        let message = problem(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    for text in [
        "redis://alice:s3cret@h:6380/1",
        "rediss://s3cret@h:6380/1?ssl_keyfile=/s3cret&ssl_certfile=/s3cret",
        "redis+socket://:s3cret@/run/r.sock",
        "sentinel://alice:s3cret@h",
        "amqp://alice:s3cret@h/v",
        "redis://a/1;redis://alice:s3cret@h/1",
    ] {
        let url = parse(text);
        for shown in [
            url.to_string(),
            format!("{url:?}"),
            url.endpoint(),
            format!("{:?}", url.servers()),
        ] {
            assert!(
                !shown.contains("s3cret") && !shown.contains("alice"),
                "{text}: {shown}"
            );
        }
    }
    for text in [
        "redis://:s3cret#x@h",
        "redis://:s3cret?x@h/0",
        "redis://:s3cret/x@h",
        "redis://alice/s3cret@h/0",
        "redis://:1?s3cret=x@h",
        "redis://:1?S3cret=x@h",
        "alice:s3cret@h:6379",
        "alice:s3cret@redis://h:6379",
        "valkey://:s3cret@h",
        "redis://:x;s3cret@h",
    ] {
        if let Err(error) = BrokerUrl::parse(text) {
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.to_lowercase().contains("s3cret"), "{text}: {shown}");
            }
        }
    }
}

#[test]
fn endpoints_name_scheme_address_and_database() {
    for (text, endpoint) in [
        ("redis://:p@H:6380/3", "redis://h:6380/3"),
        ("rediss://h", "rediss://h:6379/0"),
        ("redis://[::1]/2", "redis://[::1]:6379/2"),
        (
            "redis+socket://:p@/run/r.sock?virtual_host=4",
            "redis+socket:///run/r.sock database 4",
        ),
        ("amqps://u:p@h/%2Fprod", "amqps://h:5671/%2Fprod"),
        (
            "redis://a/1;redis://b/1",
            "redis://a:6379/1;redis://b:6379/1",
        ),
    ] {
        assert_eq!(parse(text).endpoint(), endpoint, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "(redis|rediss|amqp|redis\\+socket|sentinel)://[ -~]{0,40}") {
        if let Ok(url) = BrokerUrl::parse(&text) {
            proptest::prop_assert!(!url.servers().is_empty());
        }
    }

    #[test]
    fn an_encoded_password_comes_back(password in "\\PC{1,24}") {
        let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
        let url = BrokerUrl::parse(&format!("redis://:{encoded}@h/0")).expect("a percent-encoded password is valid");
        proptest::prop_assert_eq!(url.first().password.as_deref(), Some(password.as_str()));
    }
}
