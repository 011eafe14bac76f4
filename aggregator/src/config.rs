//! What is valid: the settings, checked. Each error names the flag, the value (never a secret) and the way out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use celeriac_process::LogFormat;

use crate::api::control::{CommandNameError, check_custom_name};
use crate::args::Args;
use crate::history::Retention;
use crate::inprocess::{InProcess, InspectArgs, InspectError};
use crate::serve::certificate;
use crate::state::Limits;

mod auth;

pub use auth::Auth;
use auth::{authentication, served};

/// The aggregator's settings.
#[derive(Debug)]
pub struct Config {
    /// Where to serve; a loopback address unless callers are known.
    pub listen: SocketAddr,
    /// How callers are known.
    pub auth: Auth,
    /// Certificate and key to serve with; in clear without.
    pub tls: Option<certificate::Files>,
    /// Folder for history and journal.
    pub data_dir: PathBuf,
    /// Apps inspected from this process.
    pub apps: Vec<InProcess>,
    /// What history keeps.
    pub retention: Retention,
    /// Bounds of the fold.
    pub limits: Limits,
    /// Apps' own commands that may be sent.
    pub allowed_commands: BTreeSet<String>,
    /// How logs are written.
    pub log_format: LogFormat,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an address.
    #[error("--listen {value:?} is not an address; write IP:PORT, such as 127.0.0.1:5555")]
    Listen {
        /// What was typed.
        value: String,
    },
    /// Open to others.
    #[error(
        "--listen {value} can be reached from other machines, and nobody would have to say who they are; \
         listen on a loopback address such as 127.0.0.1:{} and let kubectl port-forward or ssh -L bring people to it, \
         or say how callers are known: --auth",
        value.port()
    )]
    NotLoopback {
        /// What was typed.
        value: SocketAddr,
    },
    /// Open to others, who would send their tokens in clear.
    #[error(
        "--listen {value} can be reached from other machines, and tokens would come to it in clear; \
         set --tls-cert and --tls-key, or --insecure-no-tls where a mesh or a proxy encrypts"
    )]
    InClear {
        /// What was typed.
        value: SocketAddr,
    },
    /// A mode without what it needs.
    #[error("--auth {mode} needs {flag}")]
    AuthNeeds {
        /// The mode.
        mode: &'static str,
        /// The flag that is missing.
        flag: &'static str,
    },
    /// Not in a cluster.
    #[error(
        "--auth kubernetes works in a pod, where Kubernetes sets {variable}, and that is not set to one"
    )]
    NoCluster {
        /// The variable.
        variable: &'static str,
    },
    /// A flag of another mode.
    #[error("{flag} has no use without --auth {mode}")]
    AuthUnused {
        /// The flag.
        flag: &'static str,
        /// The mode that it belongs to.
        mode: &'static str,
    },
    /// No place for data.
    #[error(
        "--data-dir is not set, and neither XDG_STATE_HOME nor HOME tells a folder; set --data-dir"
    )]
    NoDataDir,
    /// Retention not readable.
    #[error("--retention {value:?} cannot be read")]
    Retention {
        /// What was typed.
        value: String,
        /// Why.
        source: crate::history::RetentionError,
    },
    /// Time span not readable.
    #[error(
        "{flag} {value:?} is not a time span; write a number with ms, s, m, h or d, such as 10s"
    )]
    Span {
        /// The flag.
        flag: &'static str,
        /// What was typed.
        value: String,
    },
    /// The file of brokers cannot be read.
    #[error("--broker-file {} cannot be read", path.display())]
    BrokerFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not the name of an app's own command.
    #[error("--allow-command {value:?} cannot be allowed")]
    AllowCommand {
        /// What was typed.
        value: String,
        /// Why.
        source: CommandNameError,
    },
    /// Two apps of one name.
    #[error("two brokers are named {name:?}; name each of them: --broker NAME=URL")]
    DuplicateApp {
        /// The name.
        name: String,
    },
    /// A broker that cannot be inspected.
    #[error("--broker of app {app:?} cannot be used")]
    Broker {
        /// The app.
        app: String,
        /// Why.
        source: InspectError,
    },
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let Args {
            command: _,
            listen,
            auth,
            tokens_file,
            audience,
            kubernetes_account,
            insecure_no_tls,
            tls_cert,
            tls_key,
            data_dir,
            broker,
            broker_file,
            retention,
            offline_after,
            worker_retention,
            allow_command,
            inspect,
            log_format,
        } = args;
        let limits = Limits {
            offline_after: span("--offline-after", &offline_after)?,
            worker_retention: span("--worker-retention", &worker_retention)?,
            ..Limits::default()
        };
        let retention = retention.parse().map_err(|source| ConfigError::Retention {
            value: retention.clone(),
            source,
        })?;
        let auth = authentication(auth, tokens_file, audience, kubernetes_account)?;
        // clap has refused one without the other.
        let tls = tls_cert
            .zip(tls_key)
            .map(|(certificate, key)| certificate::Files { certificate, key });
        let encrypted = tls.is_some() || insecure_no_tls;
        Ok(Self {
            listen: served(&listen, &auth, encrypted)?,
            auth,
            tls,
            data_dir: data_dir
                .or_else(state_folder)
                .ok_or(ConfigError::NoDataDir)?,
            apps: apps(broker, broker_file, &inspect)?,
            retention,
            limits,
            allowed_commands: allowed_commands(&allow_command)?,
            log_format,
        })
    }
}

/// White space separates several in the environment; a name holds none.
fn allowed_commands(texts: &[String]) -> Result<BTreeSet<String>, ConfigError> {
    let names = texts.iter().flat_map(|text| text.split_whitespace());
    names
        .map(|name| match check_custom_name(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(source) => Err(ConfigError::AllowCommand {
                value: name.to_owned(),
                source,
            }),
        })
        .collect()
}

/// The XDG base directory specification's place for state that is not worth a backup.
fn state_folder() -> Option<PathBuf> {
    let folder = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(base.join("celeriac"))
}

/// A time span such as `500ms`, `10s`, `5m`, `1h`, `7d`.
fn span(flag: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let refuse = || ConfigError::Span {
        flag,
        value: text.to_owned(),
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(refuse)?;
    let number: u64 = text[..digits]
        .parse()
        .map_err(|_empty_or_too_long| refuse())?;
    let unit_millis: u64 = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refuse()),
    };
    number
        .checked_mul(unit_millis)
        .map(Duration::from_millis)
        .ok_or_else(refuse)
}

fn apps(
    broker: Vec<String>,
    broker_file: Option<PathBuf>,
    inspect: &InspectArgs,
) -> Result<Vec<InProcess>, ConfigError> {
    let mut texts = broker;
    if let Some(path) = broker_file {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::BrokerFile { path, source })?;
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        texts.extend(lines.map(str::to_owned));
    }
    let mut apps: Vec<InProcess> = Vec::new();
    // White space separates several in the environment; a URL holds none.
    for text in texts.iter().flat_map(|text| text.split_whitespace()) {
        let (name, url) = named(text);
        if apps.iter().any(|app| app.name() == name) {
            return Err(ConfigError::DuplicateApp {
                name: name.to_owned(),
            });
        }
        let app = InProcess::new(name, url, inspect).map_err(|source| ConfigError::Broker {
            app: name.to_owned(),
            source,
        })?;
        apps.push(app);
    }
    Ok(apps)
}

/// Divides `NAME=URL`. A prefix is a name only if it is made of lower-case letters, digits, `-` and `/`, and ends before
/// any `:`; so a URL with a `=` in it stays whole.
fn named(text: &str) -> (&str, &str) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match text.split_once('=') {
        Some((name, url))
            if name.starts_with(plain)
                && name.ends_with(plain)
                && name.chars().all(|c| plain(c) || c == '-' || c == '/') =>
        {
            (name, url)
        }
        _ => ("default", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_name_only_before_the_scheme() {
        assert_eq!(named("redis://h/0"), ("default", "redis://h/0"));
        assert_eq!(named("shop=redis://h/0"), ("shop", "redis://h/0"));
        assert_eq!(
            named("team-a/shop=redis://h/0"),
            ("team-a/shop", "redis://h/0")
        );
        let option = "rediss://h/0?ssl_cert_reqs=none";
        assert_eq!(named(option), ("default", option));
        assert_eq!(named("-x=redis://h"), ("default", "-x=redis://h"));
        assert_eq!(named("Shop=redis://h"), ("default", "Shop=redis://h"));
    }

    #[test]
    fn only_commands_of_apps_can_be_allowed() {
        let allowed = |text: &str| allowed_commands(&[text.to_owned()]);
        let both = ["flush_cache".to_owned(), "warm_up".to_owned()];
        assert_eq!(
            allowed("flush_cache warm_up").unwrap(),
            BTreeSet::from(both)
        );
        for (name, why) in [
            ("election", CommandNameError::Harmful),
            ("hello", CommandNameError::Harmful),
            ("shutdown", CommandNameError::Builtin),
            ("ping", CommandNameError::Builtin),
            ("dump_conf", CommandNameError::Builtin),
            ("flush-cache", CommandNameError::Name),
        ] {
            let Err(ConfigError::AllowCommand { source, .. }) = allowed(name) else {
                panic!("{name} is refused");
            };
            assert_eq!(source, why, "{name}");
        }
    }

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(span("--x", "500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(span("--x", "2m").unwrap(), Duration::from_mins(2));
        for bad in [
            "10",
            "",
            "s",
            "1.5s",
            "-1s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            let error = span("--offline-after", bad).unwrap_err().to_string();
            assert!(
                error.contains("--offline-after") && error.contains("10s"),
                "{error}"
            );
        }
    }
}
