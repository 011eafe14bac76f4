//! Task messages, as they wait in a queue: what their headers say, without decoding the body. Follows
//! `celery/app/amqp.py` (`as_task_v2`, `as_task_v1`).

use super::json::{self, DEPTH_MAX, Document, List, Object};
use super::message::{Frame, MESSAGE_BYTES_MAX, Opener, Unreadable};
use super::rejection::sample;

#[cfg(test)]
mod tests;

/// Most stamps and other headers kept of one message.
pub const HEADERS_MAX: usize = 32;

/// Celery's task protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Everything is in the body (Celery 3, or `task_protocol = 1`).
    One,
    /// Headers tell about the task (Celery 4 and later).
    #[default]
    Two,
}

/// What a waiting task message tells. Fields that were absent or null are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskMessage {
    /// Which protocol it is of.
    pub protocol: Protocol,
    /// Task id. `None` in a body that is not read.
    pub id: Option<String>,
    /// Registered name.
    pub task: Option<String>,
    /// Name to show in place of the registered one.
    pub shadow: Option<String>,
    /// Language of the sender, such as `py`.
    pub lang: Option<String>,
    /// First task of the workflow.
    pub root_id: Option<String>,
    /// Calling task.
    pub parent_id: Option<String>,
    /// Group.
    pub group: Option<String>,
    /// Place in the group, from 0.
    pub group_index: Option<i64>,
    /// Retries so far.
    pub retries: Option<i64>,
    /// ISO 8601: not to start before.
    pub eta: Option<String>,
    /// ISO 8601: not to start after.
    pub expires: Option<String>,
    /// Positional arguments, Python `repr`.
    pub args: Option<String>,
    /// Keyword arguments, Python `repr`.
    pub kwargs: Option<String>,
    /// Sender, `gen<pid>@host`.
    pub origin: Option<String>,
    /// Hard time limit, seconds.
    pub hard_limit_seconds: Option<f64>,
    /// Soft time limit, seconds.
    pub soft_limit_seconds: Option<f64>,
    /// Its result is not kept.
    pub ignore_result: Option<bool>,
    /// How the body is compressed, such as `application/x-gzip`.
    pub compression: Option<String>,
    /// How the body is serialized, such as `application/json`.
    pub content_type: Option<String>,
    /// Stamps by name, each value as JSON text; at most 32.
    pub stamps: Vec<(String, String)>,
    /// Headers of the app's own by name, each value as JSON text; at most 32.
    pub custom: Vec<(String, String)>,
    /// Message priority.
    pub priority: Option<i64>,
    /// It was delivered before.
    pub redelivered: bool,
    /// Exchange it was sent to; empty is the default exchange.
    pub exchange: Option<String>,
    /// Routing key.
    pub routing_key: Option<String>,
    /// Where its result goes.
    pub reply_to: Option<String>,
    /// When it was sent, microseconds since the Unix epoch, where the broker or the sender wrote it down: Celery itself
    /// does not. Of RabbitMQ's `timestamp_in_ms` header and the `timestamp` property.
    pub sent_micros: Option<i64>,
    /// Texts cut at 64 KiB: field name and full size in bytes.
    pub truncated: Vec<(String, u64)>,
}

impl TaskMessage {
    /// Reads an element of a queue's list on Redis: kombu's envelope. Its body is read only when it is of protocol 1 and
    /// JSON.
    ///
    /// # Errors
    /// When it is too large, or no envelope.
    pub fn from_envelope(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Unreadable::TooLarge);
        }
        let unreadable = || Unreadable::Envelope {
            sample: sample(bytes),
        };
        let document = Document::read(bytes).map_err(|_| unreadable())?;
        if document.depth() > DEPTH_MAX {
            return Err(unreadable());
        }
        let envelope = Object::read(document.text().trim_ascii()).ok_or_else(unreadable)?;
        let properties = envelope.object("properties").ok_or_else(unreadable)?;
        let headers = envelope.object("headers").unwrap_or_default();
        let mut message = Self::of_headers(&headers);
        message.content_type = envelope.string("content-type").map(Into::into);
        message.add_properties(&properties);
        if let Some(delivery) = properties.object("delivery_info") {
            message.exchange = delivery.string("exchange").map(Into::into);
            message.routing_key = delivery.string("routing_key").map(Into::into);
            message.redelivered |= delivery.boolean("redelivered").unwrap_or_default();
        }
        if message.protocol == Protocol::One {
            let frame = Frame::Envelope(bytes.to_vec().into());
            if let Ok(opened) = Opener::default().open(&frame) {
                message.add_body_of_protocol_1(opened.body);
            }
        }
        Ok(message)
    }

    /// Reads the properties of an AMQP message, `headers` among them, written as a JSON object. `body` is looked at only
    /// when the message is of protocol 1 and JSON.
    ///
    /// # Errors
    /// When `properties` is no object.
    pub fn from_properties(properties: &str, body: &[u8]) -> Result<Self, Unreadable> {
        let fields = Object::read(properties.trim_ascii()).ok_or_else(|| Unreadable::Envelope {
            sample: sample(properties.as_bytes()),
        })?;
        let headers = fields.object("headers").unwrap_or_default();
        let mut message = Self::of_headers(&headers);
        message.content_type = fields.string("content_type").map(Into::into);
        message.add_properties(&fields);
        if message.protocol == Protocol::One && body.len() <= MESSAGE_BYTES_MAX {
            message.add_body_of_protocol_1(body);
        }
        Ok(message)
    }

    fn of_headers(headers: &Object<'_>) -> Self {
        let mut message = Self {
            protocol: if headers.string("task").is_some() {
                Protocol::Two
            } else {
                Protocol::One
            },
            ..Self::default()
        };
        for (name, raw) in headers.fields() {
            message.add_header(name, raw);
        }
        message
    }

    fn add_header(&mut self, name: &str, raw: &str) {
        let place = match name {
            "id" => &mut self.id,
            "task" => &mut self.task,
            "shadow" => &mut self.shadow,
            "lang" => &mut self.lang,
            "root_id" => &mut self.root_id,
            "parent_id" => &mut self.parent_id,
            "group" => &mut self.group,
            "eta" => &mut self.eta,
            "expires" => &mut self.expires,
            "argsrepr" => &mut self.args,
            "kwargsrepr" => &mut self.kwargs,
            "origin" => &mut self.origin,
            "compression" => &mut self.compression,
            "group_index" => return self.group_index = json::integer(raw),
            "retries" => return self.retries = json::integer(raw),
            "ignore_result" => return self.ignore_result = json::boolean(raw),
            "redelivered" => {
                return self.redelivered |= json::boolean(raw).unwrap_or_default();
            }
            "timelimit" => return self.add_limits(raw),
            "timestamp_in_ms" => return self.add_sent(json::integer(raw), 1_000),
            "stamps" => {
                let stamps = Object::read(raw).unwrap_or_default();
                return self.stamps.extend(
                    stamps
                        .fields()
                        .take(HEADERS_MAX)
                        .map(|(name, raw)| (name.to_owned(), json::bounded_json(raw).0)),
                );
            }
            // The stamps' names again, and a counter of Celery's own.
            "stamped_headers" | "replaced_task_nesting" => return,
            _ => {
                if self.custom.len() < HEADERS_MAX {
                    self.custom
                        .push((name.to_owned(), json::bounded_json(raw).0));
                }
                return;
            }
        };
        let Some(text) = json::string(raw) else {
            return;
        };
        let (text, full_bytes) = json::bounded_text(&text);
        *place = Some(text);
        self.truncated
            .extend(full_bytes.map(|bytes| (name.to_owned(), bytes)));
    }

    /// `timelimit` is `[hard, soft]`.
    fn add_limits(&mut self, raw: &str) {
        let limits = List::read(raw, 2).unwrap_or_default();
        let limit = |place: usize| limits.items.get(place).and_then(|raw| json::float(raw));
        self.hard_limit_seconds = limit(0);
        self.soft_limit_seconds = limit(1);
    }

    fn add_properties(&mut self, properties: &Object<'_>) {
        self.priority = properties.integer("priority");
        self.reply_to = properties.string("reply_to").map(Into::into);
        // The header is finer, and the broker's own.
        if self.sent_micros.is_none() {
            self.add_sent(properties.integer("timestamp"), 1_000_000);
        }
    }

    fn add_sent(&mut self, time: Option<i64>, micros_each: i64) {
        self.sent_micros = time
            .filter(|time| *time > 0)
            .and_then(|time| time.checked_mul(micros_each));
    }

    fn add_body_of_protocol_1(&mut self, body: &[u8]) {
        let Ok(document) = Document::read(body) else {
            return;
        };
        let Some(fields) = Object::read(document.text().trim_ascii()) else {
            return;
        };
        for name in ["id", "task", "eta", "expires", "retries", "timelimit"] {
            if let Some(raw) = fields.get(name) {
                self.add_header(name, raw);
            }
        }
        self.group = fields.string("taskset").map(Into::into);
    }
}
