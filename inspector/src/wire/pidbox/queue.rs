//! Queues and task names in workers' answers.

use crate::wire::json::{self, List, Object};

/// Most queues read of one answer.
pub const QUEUES_MAX: usize = 10_000;

/// Most names or ids read of one answer. A worker remembers 50,000 revoked ids (`celery/worker/state.py`).
pub const NAMES_MAX: usize = 100_000;

/// A queue that a worker consumes from (`Queue.as_dict(recurse=True)` in `kombu/entity.py`).
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are kombu's independent flags of a queue"
)]
pub struct ConsumedQueue {
    /// Queue name.
    pub name: String,
    /// Exchange name; empty is the default exchange.
    pub exchange: String,
    /// Exchange type, such as `direct`.
    pub exchange_type: String,
    /// Binding key.
    pub routing_key: String,
    /// `x-max-priority` of RabbitMQ, when set.
    pub max_priority: Option<i64>,
    /// The queue survives a restart of the broker.
    pub durable: bool,
    /// Only its declarer may use it.
    pub exclusive: bool,
    /// It goes with its last consumer.
    pub auto_delete: bool,
    /// Messages count as acknowledged once delivered.
    pub no_ack: bool,
    /// Queue arguments as JSON text, such as `{"x-queue-type": "quorum"}`; absent when none.
    pub queue_arguments: Option<String>,
    /// Time until an unused queue goes, seconds.
    pub expires_seconds: Option<f64>,
    /// Time until a message goes, seconds.
    pub message_ttl_seconds: Option<f64>,
    /// Most messages it takes.
    pub max_length: Option<i64>,
}

impl ConsumedQueue {
    fn read(raw: &str) -> Option<Self> {
        let fields = Object::read(raw)?;
        let exchange = fields.object("exchange").unwrap_or_default();
        let flag = |name| fields.boolean(name).unwrap_or_default();
        let text = |object: &Object<'_>, name| {
            let text = object.string(name).unwrap_or_default();
            json::bounded_text(&text).0
        };
        Some(Self {
            name: text(&fields, "name"),
            exchange: text(&exchange, "name"),
            exchange_type: text(&exchange, "type"),
            routing_key: text(&fields, "routing_key"),
            max_priority: fields.integer("max_priority"),
            durable: flag("durable"),
            exclusive: flag("exclusive"),
            auto_delete: flag("auto_delete"),
            no_ack: flag("no_ack"),
            queue_arguments: fields
                .get("queue_arguments")
                .filter(|raw| !matches!(*raw, "null" | "{}"))
                .map(|raw| json::bounded_json(raw).0),
            expires_seconds: fields.float("expires"),
            message_ttl_seconds: fields.float("message_ttl"),
            max_length: fields.integer("max_length"),
        })
        .filter(|queue| !queue.name.is_empty())
    }
}

/// The answer to `active_queues`. One element that is no queue spoils the answer: a queue that is overlooked here would look
/// cancelled.
pub(super) fn consumed(raw: &str) -> Option<Vec<ConsumedQueue>> {
    if raw == "null" {
        return Some(Vec::new());
    }
    let list = List::read(raw, QUEUES_MAX).filter(|list| list.left_out == 0)?;
    list.items.into_iter().map(ConsumedQueue::read).collect()
}

/// A task that a worker knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredTask {
    /// Registered name.
    pub name: String,
    /// The attributes asked for that are set, as Celery writes them: `rate_limit=10/m max_retries=3`.
    pub attributes: Option<String>,
}

/// The answer to `registered`: strings `name` or `name [attributes]`.
pub(super) fn registered(raw: &str) -> Option<Vec<RegisteredTask>> {
    let list = List::read(raw, NAMES_MAX)?;
    let tasks = list.items.into_iter().map(|raw| {
        let (text, _) = json::bounded_text(&json::string(raw)?);
        let split = text
            .split_once(" [")
            .and_then(|(name, rest)| Some((name, rest.strip_suffix(']')?)));
        Some(match split {
            Some((name, attributes)) => RegisteredTask {
                name: name.to_owned(),
                attributes: Some(attributes.to_owned()),
            },
            None => RegisteredTask {
                name: text,
                attributes: None,
            },
        })
    });
    tasks.collect()
}
