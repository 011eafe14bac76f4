//! Transport options (`broker_transport_options`) that change names on a Redis broker, as `k=v` texts.

use super::SentinelOptions;

/// The transport options of kombu's Redis transport that matter here. `Default` is kombu's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportOptions {
    /// In front of every key and channel.
    pub global_keyprefix: String,
    /// In front of exchange names in channels. `None`: not given, taken as kombu's default.
    pub fanout_prefix: Option<FanoutPrefix>,
    /// Whether channels end in `/` and the routing key.
    pub fanout_patterns: bool,
    /// Between the fields of a binding, and between queue and priority.
    pub sep: String,
    /// Priorities that have a list of their own, rising.
    pub priority_steps: Vec<i32>,
    /// Whether delivered messages are kept until acknowledged.
    pub ack_emulation: bool,
    /// Hash of these messages.
    pub unacked_key: String,
    /// Sorted set of their times.
    pub unacked_index_key: String,
    /// What matters behind Sentinels.
    pub sentinel: SentinelOptions,
}

/// The transport option `fanout_prefix`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FanoutPrefix {
    /// `true`: `/{db}.`
    #[default]
    Database,
    /// `false`: nothing.
    Off,
    /// A template in Python's format syntax, in which only `{db}` may stand.
    Template(String),
}

/// A transport option that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportOptionError {
    /// No `=`.
    #[error(
        "the transport option {text} has no value; write NAME=VALUE, such as global_keyprefix=app1:"
    )]
    NoValue {
        /// As it was given.
        text: String,
    },
    /// Not an option of kombu's Redis transport.
    #[error(
        "the transport option {name} is not known to Celery's Redis transport; known are {known}"
    )]
    Unknown {
        /// As it was given.
        name: String,
        /// Those that change something here.
        known: &'static str,
    },
    /// A value that does not fit.
    #[error("the transport option {name} must be {expected}")]
    Value {
        /// Its name.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
    },
}

const KNOWN: &str = "global_keyprefix, fanout_prefix, fanout_patterns, sep, priority_steps, ack_emulation, unacked_key, \
                     unacked_index_key, and for Sentinels master_name, sentinel_kwargs, min_other_sentinels and \
                     sentinel_fanout_compat";

/// What else kombu 5.7.0 reads of a Redis app's transport options: may be in a copied configuration, changes no name.
const WITHOUT_EFFECT: &[&str] = &[
    "body_encoding",
    "client_name",
    "connect_retries_timeout",
    "deadletter_queue",
    "health_check_interval",
    "interval_max",
    "interval_start",
    "interval_step",
    "max_connections",
    "max_retries",
    "polling_interval",
    "queue_order_strategy",
    "reauth_check_interval",
    "retry_on_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_timeout",
    "unacked_mutex_expire",
    "unacked_mutex_key",
    "unacked_restore_interval",
    "unacked_restore_limit",
    "unacked_restore_throttle",
    "visibility_timeout",
];

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            global_keyprefix: String::new(),
            fanout_prefix: None,
            fanout_patterns: true,
            sep: "\u{6}\u{16}".to_owned(),
            priority_steps: vec![0, 3, 6, 9],
            ack_emulation: true,
            unacked_key: "unacked".to_owned(),
            unacked_index_key: "unacked_index".to_owned(),
            sentinel: SentinelOptions::default(),
        }
    }
}

impl TransportOptions {
    /// Reads options as `NAME=VALUE` texts. A value in double quotes is a JSON string; later texts win.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn parse<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TransportOptionError> {
        let mut options = Self::default();
        for text in texts {
            options.set(text)?;
        }
        Ok(options)
    }

    fn set(&mut self, text: &str) -> Result<(), TransportOptionError> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| TransportOptionError::NoValue {
                text: text.to_owned(),
            })?;
        match name.trim() {
            "global_keyprefix" => self.global_keyprefix = string("global_keyprefix", value)?,
            "fanout_prefix" => self.fanout_prefix = Some(FanoutPrefix::parse(value)?),
            "fanout_patterns" => self.fanout_patterns = boolean("fanout_patterns", value)?,
            "sep" => self.sep = non_empty("sep", value)?,
            "priority_steps" => self.priority_steps = steps(value)?,
            "ack_emulation" => self.ack_emulation = boolean("ack_emulation", value)?,
            "unacked_key" => self.unacked_key = non_empty("unacked_key", value)?,
            "unacked_index_key" => self.unacked_index_key = non_empty("unacked_index_key", value)?,
            "master_name" => self.sentinel.master_name = Some(non_empty("master_name", value)?),
            "sentinel_kwargs" => self.sentinel.set_kwargs(value)?,
            "min_other_sentinels" => {
                self.sentinel.min_other_sentinels = count("min_other_sentinels", value)?;
            }
            "sentinel_fanout_compat" => {
                self.sentinel.fanout_compat = boolean("sentinel_fanout_compat", value)?;
            }
            other if WITHOUT_EFFECT.contains(&other) => {}
            other => {
                return Err(TransportOptionError::Unknown {
                    name: other.to_owned(),
                    known: KNOWN,
                });
            }
        }
        Ok(())
    }
}

impl FanoutPrefix {
    fn parse(value: &str) -> Result<Self, TransportOptionError> {
        if let Some(on) = python_bool(value) {
            return Ok(if on { Self::Database } else { Self::Off });
        }
        let template = string("fanout_prefix", value)?;
        if template.is_empty() {
            return Ok(Self::Off); // as `if self.fanout_prefix` in Channel.__init__
        }
        let expected = "true, false or a template in which only {db} stands, such as /{db}.";
        format_template(&template, 0).ok_or(TransportOptionError::Value {
            name: "fanout_prefix",
            expected,
        })?;
        Ok(Self::Template(template))
    }

    /// What kombu before 5.4 puts in front of exchange names behind Sentinels: the template as it is, whatever the database.
    pub(super) fn unformatted(&self) -> &str {
        match self {
            Self::Database => "/{db}.",
            Self::Off => "",
            Self::Template(template) => template,
        }
    }

    /// What stands in front of exchange names in the channels of a database.
    pub(super) fn for_database(&self, database: i64) -> String {
        match self {
            Self::Database => format!("/{database}."),
            Self::Off => String::new(),
            // A template that was not checked by `parse` stays as it is.
            Self::Template(template) => {
                format_template(template, database).unwrap_or_else(|| template.clone())
            }
        }
    }
}

/// Python's `template.format(db=database)`; `None` when that raises.
fn format_template(template: &str, database: i64) -> Option<String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{") {
            text.push('{');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("}}") {
            text.push('}');
            rest = after;
        } else {
            rest = rest.strip_prefix("{db}")?;
            text.push_str(&database.to_string());
        }
    }
    text.push_str(rest);
    Some(text)
}

fn string(name: &'static str, value: &str) -> Result<String, TransportOptionError> {
    if !value.starts_with('"') {
        return Ok(value.to_owned());
    }
    serde_json::from_str(value).map_err(|_| TransportOptionError::Value {
        name,
        expected: "a text, or a JSON string in double quotes",
    })
}

fn non_empty(name: &'static str, value: &str) -> Result<String, TransportOptionError> {
    let text = string(name, value)?;
    if text.is_empty() {
        return Err(TransportOptionError::Value {
            name,
            expected: "a text that is not empty",
        });
    }
    Ok(text)
}

fn boolean(name: &'static str, value: &str) -> Result<bool, TransportOptionError> {
    python_bool(value).ok_or(TransportOptionError::Value {
        name,
        expected: "true or false",
    })
}

fn count(name: &'static str, value: &str) -> Result<u64, TransportOptionError> {
    let number = value.trim().parse();
    number.map_err(|_| TransportOptionError::Value {
        name,
        expected: "a whole number from 0",
    })
}

fn python_bool(value: &str) -> Option<bool> {
    match value {
        "true" | "True" | "1" => Some(true),
        "false" | "False" | "0" => Some(false),
        _ => None,
    }
}

/// `[0, 3, 6, 9]` or `0,3,6,9`.
fn steps(value: &str) -> Result<Vec<i32>, TransportOptionError> {
    let wrong = TransportOptionError::Value {
        name: "priority_steps",
        expected: "rising whole numbers from 0 to 255, such as 0,3,6,9",
    };
    let list = value.trim().trim_start_matches('[').trim_end_matches(']');
    let steps: Result<Vec<i32>, _> = list
        .split(',')
        .map(|step| step.trim().parse::<i32>())
        .collect();
    let steps = steps.map_err(|_| wrong.clone())?;
    let rising = steps.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || steps.iter().any(|step| !(0..=255).contains(step)) {
        return Err(wrong);
    }
    Ok(steps)
}
