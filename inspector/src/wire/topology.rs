//! Names on a Redis broker (channels, lists, sets) as `kombu/transport/redis.py` makes them, computed from the database
//! number, the transport options and Celery's exchange settings; and the few of our own. Pure.

mod options;
mod sentinel;
#[cfg(test)]
mod tests;

pub use options::{FanoutPrefix, TransportOptionError, TransportOptions};
pub use sentinel::SentinelOptions;

/// Celery's setting `control_exchange`, when it was not changed.
pub const DEFAULT_CONTROL_EXCHANGE: &str = "celery";
/// Celery's setting `event_exchange`, when it was not changed.
pub const DEFAULT_EVENT_EXCHANGE: &str = "celeryev";

/// First part of the name of every list that is made here, so that a later start knows them.
const REPLY_PREFIX: &str = "celeriac.";

/// The queue of events of an inspector on an AMQP broker, at most 255 bytes. What is too long is cut and told apart by a
/// number made of all of it.
pub fn event_queue(instance: &str) -> String {
    const INSTANCE_MAX: usize = 200;
    let name = |instance: &str| format!("{DEFAULT_EVENT_EXCHANGE}.{REPLY_PREFIX}{instance}");
    if instance.len() <= INSTANCE_MAX {
        return name(instance);
    }
    // FNV-1a: the same in every version of this program.
    let number = instance
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let cut = instance.char_indices().map(|(at, _)| at);
    let cut = cut
        .take_while(|at| *at <= INSTANCE_MAX - 20)
        .last()
        .unwrap_or(0);
    name(&format!("{}.{number:016x}", &instance[..cut]))
}

/// The names of one app on one Redis database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    database: i64,
    options: TransportOptions,
    control_exchange: String,
    event_exchange: String,
    behind_sentinels: bool,
}

/// Patterns for PSUBSCRIBE that together match every event of an app. No two match the same channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPatterns {
    /// Where events are by the options given.
    pub expected: String,
    /// Where kombu before 5.4 has them behind Sentinels, by the same options.
    pub older: Option<String>,
    /// Where they are when workers have other `fanout_patterns` or `fanout_prefix` than was given here.
    pub also: Vec<String>,
}

/// One member of a set `_kombu.binding.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Routing key.
    pub routing_key: &'a str,
    /// Regular expression of a topic binding, else empty.
    pub pattern: &'a str,
    /// Queue.
    pub queue: &'a str,
}

impl Topology {
    /// Names of an app that did not rename its exchanges.
    pub fn new(database: i64, options: TransportOptions) -> Self {
        Self {
            database,
            options,
            control_exchange: DEFAULT_CONTROL_EXCHANGE.to_owned(),
            event_exchange: DEFAULT_EVENT_EXCHANGE.to_owned(),
            behind_sentinels: false,
        }
    }

    /// For an app with another `control_exchange`.
    #[must_use]
    pub fn with_control_exchange(mut self, name: impl Into<String>) -> Self {
        self.control_exchange = name.into();
        self
    }

    /// For an app with another `event_exchange`.
    #[must_use]
    pub fn with_event_exchange(mut self, name: impl Into<String>) -> Self {
        self.event_exchange = name.into();
        self
    }

    /// For an app whose broker URL is one of Sentinels: kombu before 5.4 has channels of other names there, in which the
    /// letters `{db}` stand for every database.
    #[must_use]
    pub fn behind_sentinels(mut self, behind: bool) -> Self {
        self.behind_sentinels = behind;
        self
    }

    /// What matters behind Sentinels.
    pub fn sentinel(&self) -> &SentinelOptions {
        &self.options.sentinel
    }

    /// Number of the database, part of every channel name.
    pub fn database(&self) -> i64 {
        self.database
    }

    /// The exchange of control requests, such as `celery.pidbox` (`kombu/pidbox.py`).
    pub fn control_exchange(&self) -> String {
        format!("{}.pidbox", self.control_exchange)
    }

    /// The exchange of events, such as `celeryev`.
    pub fn event_exchange(&self) -> &str {
        &self.event_exchange
    }

    /// The channel of control requests, such as `/0.celery.pidbox`.
    pub fn control_channel(&self) -> String {
        self.control_channel_of(&self.fanout_prefix())
    }

    /// The channel where workers of kombu before 5.4 listen behind Sentinels, if it is another.
    pub fn older_control_channel(&self) -> Option<String> {
        let older = self.older_fanout_prefix()?;
        Some(self.control_channel_of(&older))
    }

    fn control_channel_of(&self, fanout_prefix: &str) -> String {
        let (prefix, exchange) = (&self.options.global_keyprefix, self.control_exchange());
        format!("{prefix}{fanout_prefix}{exchange}")
    }

    /// The patterns that match every event, such as `/0.celeryev/*`.
    ///
    /// An unset `fanout_prefix` also subscribes without `/{db}.`, so that apps with `fanout_prefix: False` are seen; such
    /// channels are shared by all databases of the server, so a prefix that was given is taken at its word.
    pub fn event_patterns(&self) -> EventPatterns {
        let [expected, other] = self.event_patterns_of(&self.fanout_prefix());
        let mut also = vec![other];
        if self.options.fanout_prefix.is_none() {
            also.extend(self.event_patterns_of(""));
        }
        let older = self.older_fanout_prefix().map(|prefix| {
            let [older, other] = self.event_patterns_of(&prefix);
            also.push(other);
            older
        });
        EventPatterns {
            expected,
            older,
            also,
        }
    }

    /// The patterns by the `fanout_patterns` that was given, and by the other.
    fn event_patterns_of(&self, fanout_prefix: &str) -> [String; 2] {
        let (prefix, exchange) = (&self.options.global_keyprefix, &self.event_exchange);
        let bare = escape_glob(&format!("{prefix}{fanout_prefix}{exchange}"));
        let routed = format!("{bare}/*");
        if self.options.fanout_patterns {
            [routed, bare]
        } else {
            [bare, routed]
        }
    }

    /// The lists of a queue by priority step, the most urgent first (`_q_for_pri`).
    pub fn queue_keys(&self, queue: &str) -> Vec<(i32, String)> {
        let prefix = &self.options.global_keyprefix;
        self.options
            .priority_steps
            .iter()
            .map(|&step| match step {
                0 => (0, format!("{prefix}{queue}")),
                _ => (step, format!("{prefix}{queue}{}{step}", self.options.sep)),
            })
            .collect()
    }

    /// The hash of delivered and not acknowledged messages; `None` when the app keeps none (`ack_emulation: False`).
    pub fn unacked_key(&self) -> Option<String> {
        self.options.ack_emulation.then(|| {
            format!(
                "{}{}",
                self.options.global_keyprefix, self.options.unacked_key
            )
        })
    }

    /// The sorted set of when they were delivered; `None` as for [`Topology::unacked_key`].
    pub fn unacked_index_key(&self) -> Option<String> {
        self.options.ack_emulation.then(|| {
            format!(
                "{}{}",
                self.options.global_keyprefix, self.options.unacked_index_key
            )
        })
    }

    /// The set of bindings of an exchange.
    pub fn binding_key(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.options.global_keyprefix)
    }

    /// Pattern for SCAN that matches every set of bindings.
    pub fn binding_keys(&self) -> String {
        format!(
            "{}_kombu.binding.*",
            escape_glob(&self.options.global_keyprefix)
        )
    }

    /// The exchange of a set of bindings; `None` when `key` is another key.
    pub fn binding_exchange<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.options.global_keyprefix)?
            .strip_prefix("_kombu.binding.")
    }

    /// Whether tasks can come through an exchange: not events, control requests and their replies.
    pub fn carries_tasks(&self, exchange: &str) -> bool {
        !exchange.ends_with(".pidbox") && exchange != self.event_exchange
    }

    /// Takes a member of a set of bindings apart (`Channel.get_table`); `None` when it is none.
    pub fn binding<'a>(&self, member: &'a str) -> Option<Binding<'a>> {
        let mut fields = member.split(&self.options.sep);
        let (routing_key, pattern, queue) = (fields.next()?, fields.next()?, fields.next()?);
        (!queue.is_empty()).then_some(Binding {
            routing_key,
            pattern,
            queue,
        })
    }

    /// Whether a queue holds tasks by its name: no mailbox, no event queue, no reply queue, no delay level of native
    /// delayed delivery.
    pub fn holds_tasks(&self, queue: &str) -> bool {
        let event_queue = queue
            .strip_prefix(DEFAULT_EVENT_EXCHANGE)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        !(event_queue
            || queue.ends_with(".pidbox")
            || queue.contains(".reply.")
            || queue.starts_with("celery_delayed_"))
    }

    /// The queue for replies, as `reply_to` names it: without `global_keyprefix`, which the worker adds.
    pub fn reply_queue(&self, id: &str) -> String {
        format!("{REPLY_PREFIX}{id}.reply.{}", self.control_exchange())
    }

    /// The list of a reply queue.
    pub fn reply_key(&self, reply_queue: &str) -> String {
        format!("{}{reply_queue}", self.options.global_keyprefix)
    }

    /// Pattern for SCAN that matches the reply lists of every process of this product.
    pub fn reply_keys(&self) -> String {
        let prefix = escape_glob(&self.options.global_keyprefix);
        format!("{prefix}{REPLY_PREFIX}*.reply.*.pidbox")
    }

    /// The key that says whose turn it is to publish what every worker gets.
    pub fn turn_key(&self) -> String {
        let exchange = self.control_exchange();
        format!(
            "{}{REPLY_PREFIX}turn.{exchange}",
            self.options.global_keyprefix
        )
    }

    /// The queue in which a worker waits for control requests, on AMQP (`Mailbox.get_queue` in `kombu/pidbox.py`).
    pub fn control_queue(&self, node: &str) -> String {
        format!("{node}.{}", self.control_exchange())
    }

    /// What stands before the exchange in a channel name.
    fn fanout_prefix(&self) -> String {
        self.options
            .fanout_prefix
            .clone()
            .unwrap_or_default()
            .for_database(self.database)
    }

    /// The same of kombu before 5.4 behind Sentinels; `None` when it does not differ.
    fn older_fanout_prefix(&self) -> Option<String> {
        let prefix = self.options.fanout_prefix.clone().unwrap_or_default();
        let older = prefix.unformatted();
        (self.behind_sentinels && older != self.fanout_prefix()).then(|| older.to_owned())
    }
}

/// Escapes what Redis takes as a wildcard, so that names match themselves only.
fn escape_glob(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
