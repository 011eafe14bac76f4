//! Replies: one worker's answer to one request.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::held::{self, HeldTasks, QueriedTask};
use super::queue::{self, ConsumedQueue, RegisteredTask};
use super::request::{Inspect, Method};
use super::secret::{mask, mask_urls};
use super::stats::Stats;
use crate::wire::argument::masked_json;
use crate::wire::event::IDENTITY_BYTES_MAX;
use crate::wire::json::{self, DEPTH_MAX, Document, List, Object};
use crate::wire::message::Opened;

/// What one worker answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The node name.
    pub hostname: String,
    /// Which request it answers.
    pub ticket: Option<String>,
    /// The answer as JSON text, fit for any parser; numbers are as they were on the wire, of any size. Not masked: what is
    /// shown of `conf` and `report` comes from [`Reply::conf`] and [`Reply::report`].
    pub value: String,
    /// NaN or Infinity in it became null, or a lone surrogate U+FFFD.
    pub sanitized: bool,
}

/// Without the answer: settings may hold secrets that Celery does not know.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("hostname", &self.hostname)
            .field("ticket", &self.ticket)
            .field("value_bytes", &self.value.len())
            .field("sanitized", &self.sanitized)
            .finish()
    }
}

/// Why a message is no reply. The texts are a fixed set, fit for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum ReplyError {
    /// The body is no JSON.
    NotJson,
    /// Nested deeper than 127 levels.
    TooDeep,
    /// It is no object with one field, a node name.
    NotOneNode,
}

impl ReplyError {
    /// The reason, one of a fixed set.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotJson => "reply is not JSON",
            Self::TooDeep => "reply nested deeper than 127 levels",
            Self::NotOneNode => "reply is not an object with one node name",
        }
    }
}

/// Longest answer shown to a person, bytes. Settings and reports have 10 to 20 KiB, a thousand tasks some 500.
pub const SHOWN_BYTES_MAX: usize = 256 * 1024;

/// An answer by Celery's convention.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// `{"ok": …}`. A text may still mean that nothing was done.
    Ok(Value),
    /// `{"error": …}`: usually the Python `repr` of an exception.
    Error(String),
    /// Anything else.
    Data(Value),
}

/// Why an answer holds nothing of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The worker could not, or would not; in its words, at most 64 KiB.
    #[error("the worker answered with an error: {0}")]
    Worker(String),
    /// The answer has another shape than this command's.
    #[error("the answer is not one to {0}")]
    Shape(&'static str),
}

impl Reply {
    /// Reads the body of an opened message.
    ///
    /// # Errors
    /// When it is no reply.
    pub fn read(opened: &Opened<'_>) -> Result<Self, ReplyError> {
        let document = Document::read(opened.body).map_err(|_| ReplyError::NotJson)?;
        if document.depth() > DEPTH_MAX {
            return Err(ReplyError::TooDeep);
        }
        let text = document.text().trim_ascii();
        let Some(nodes) = Object::read(text) else {
            return Err(if json::is_json(text) {
                ReplyError::NotOneNode
            } else {
                ReplyError::NotJson
            });
        };
        let mut fields = nodes.fields();
        match (fields.next(), fields.next()) {
            (Some((hostname, raw)), None)
                if !hostname.is_empty() && hostname.len() <= IDENTITY_BYTES_MAX =>
            {
                Ok(Self {
                    hostname: hostname.to_owned(),
                    ticket: opened.ticket.as_deref().map(str::to_owned),
                    value: raw.to_owned(),
                    sanitized: document.mended(),
                })
            }
            _ => Err(ReplyError::NotOneNode),
        }
    }

    /// The answer, whatever the command was. Integers beyond 64 bits come as the nearest double; passwords in URLs are
    /// masked in an error.
    pub fn answer(&self) -> Answer {
        match self.sort() {
            Sorted::Error(text) => Answer::Error(text),
            Sorted::Ok(raw) => Answer::Ok(parse(raw)),
            Sorted::Data(raw) => Answer::Data(parse(raw)),
        }
    }

    /// The answer to a person's command as JSON text, passwords in URLs, in settings and in arguments masked. At most
    /// [`SHOWN_BYTES_MAX`]; of a longer one the beginning as a JSON string, and its size in bytes.
    pub fn shown(&self, method: &Method) -> (String, Option<u64>) {
        let settings = (*method == Method::Inspect(Inspect::Conf))
            .then(|| masked_object(&self.value))
            .flatten();
        let masked = settings.or_else(|| {
            let arguments = masked_json(&self.value);
            let urls = mask_urls(arguments.as_deref().unwrap_or(&self.value));
            urls.or(arguments)
        });
        json::bounded_json_to(masked.as_deref().unwrap_or(&self.value), SHOWN_BYTES_MAX)
    }

    fn sort(&self) -> Sorted<'_> {
        let raw = self.value.as_str();
        let single = Object::read(raw).filter(|object| object.len() == 1);
        let Some(object) = single else {
            return Sorted::Data(raw);
        };
        if let Some(ok) = object.get("ok") {
            return Sorted::Ok(ok);
        }
        match object.string("error") {
            Some(text) => {
                let (text, _) = json::bounded_text(&text);
                Sorted::Error(mask_urls(&text).unwrap_or(text))
            }
            None => Sorted::Data(raw),
        }
    }

    /// The JSON text of an answer that is data.
    fn data(&self, command: &'static str) -> Result<&str, AnswerError> {
        match self.sort() {
            Sorted::Data(raw) => Ok(raw),
            Sorted::Error(text) => Err(AnswerError::Worker(text)),
            Sorted::Ok(_) => Err(AnswerError::Shape(command)),
        }
    }

    /// The text of an answer that is one, bare or as `ok`.
    fn words(&self, command: &'static str) -> Result<String, AnswerError> {
        match self.sort() {
            Sorted::Data(raw) | Sorted::Ok(raw) => {
                let text = json::string(raw).ok_or(AnswerError::Shape(command))?;
                Ok(mask_urls(&text).unwrap_or_else(|| text.into_owned()))
            }
            Sorted::Error(text) => Err(AnswerError::Worker(text)),
        }
    }

    /// `ping`: it is there.
    ///
    /// # Errors
    /// When it answered anything but `pong`.
    pub fn ping(&self) -> Result<(), AnswerError> {
        match self.words("ping")?.as_str() {
            "pong" => Ok(()),
            _ => Err(AnswerError::Shape("ping")),
        }
    }

    /// `stats`.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no object.
    pub fn stats(&self) -> Result<Stats, AnswerError> {
        Stats::read(self.data("stats")?).ok_or(AnswerError::Shape("stats"))
    }

    /// `active`: the tasks that run.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no array.
    pub fn active(&self) -> Result<HeldTasks, AnswerError> {
        held::requests(self.data("active")?).ok_or(AnswerError::Shape("active"))
    }

    /// `reserved`: the tasks prefetched that neither run nor wait for an ETA.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no array.
    pub fn reserved(&self) -> Result<HeldTasks, AnswerError> {
        held::requests(self.data("reserved")?).ok_or(AnswerError::Shape("reserved"))
    }

    /// `scheduled`: the tasks that wait for their ETA.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no array.
    pub fn scheduled(&self) -> Result<HeldTasks, AnswerError> {
        held::scheduled(self.data("scheduled")?).ok_or(AnswerError::Shape("scheduled"))
    }

    /// `query_task`: those of the tasks asked for that it holds. None is a normal answer.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no object.
    pub fn query_task(&self) -> Result<Vec<QueriedTask>, AnswerError> {
        held::queried(self.data("query_task")?).ok_or(AnswerError::Shape("query_task"))
    }

    /// `revoked`: ids it will not run, expired ones among them; at most 100,000.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no array of strings.
    pub fn revoked(&self) -> Result<Vec<String>, AnswerError> {
        let raw = self.data("revoked")?;
        let list = List::read(raw, queue::NAMES_MAX).ok_or(AnswerError::Shape("revoked"))?;
        let ids = list
            .items
            .into_iter()
            .map(|raw| json::string(raw).map(Cow::into_owned));
        ids.collect::<Option<_>>()
            .ok_or(AnswerError::Shape("revoked"))
    }

    /// `registered`: the tasks it knows.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no array.
    pub fn registered(&self) -> Result<Vec<RegisteredTask>, AnswerError> {
        queue::registered(self.data("registered")?).ok_or(AnswerError::Shape("registered"))
    }

    /// `active_queues`: the queues it consumes from.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no array. `null` is what a worker answers whose consumer is not
    /// up: no queues.
    pub fn active_queues(&self) -> Result<Vec<ConsumedQueue>, AnswerError> {
        queue::consumed(self.data("active_queues")?).ok_or(AnswerError::Shape("active_queues"))
    }

    /// `conf`: the settings as a JSON object, secrets masked by Celery and once more.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no object.
    pub fn conf(&self) -> Result<String, AnswerError> {
        masked_object(self.data("conf")?).ok_or(AnswerError::Shape("conf"))
    }

    /// `clock`: the worker's Lamport clock.
    ///
    /// # Errors
    /// When the worker answered with an error, or without a clock.
    pub fn clock(&self) -> Result<u64, AnswerError> {
        Object::read(self.data("clock")?)
            .and_then(|answer| answer.unsigned("clock"))
            .ok_or(AnswerError::Shape("clock"))
    }

    /// `report`: versions and settings, several lines.
    ///
    /// # Errors
    /// When the worker answered with an error, or with no text.
    pub fn report(&self) -> Result<String, AnswerError> {
        self.words("report")
    }

    /// `memsample`: memory, such as `61.508MB`.
    ///
    /// # Errors
    /// When the worker answered with an error (it needs psutil), or with no text.
    pub fn memsample(&self) -> Result<String, AnswerError> {
        self.words("memsample")
    }

    /// `memdump`: memory samples, several lines.
    ///
    /// # Errors
    /// When the worker answered with an error (it needs psutil), or with no text.
    pub fn memdump(&self) -> Result<String, AnswerError> {
        self.words("memdump")
    }

    /// `objgraph`: the file on the worker's disk that holds the graph.
    ///
    /// # Errors
    /// When the worker answered with an error (it needs objgraph), or without a file name.
    pub fn objgraph(&self) -> Result<String, AnswerError> {
        Object::read(self.data("objgraph")?)
            .and_then(|answer| answer.string("filename"))
            .map(Cow::into_owned)
            .ok_or(AnswerError::Shape("objgraph"))
    }
}

/// An [`Answer`] whose values are not parsed yet.
enum Sorted<'a> {
    Ok(&'a str),
    Error(String),
    Data(&'a str),
}

/// A part of a reply: it is JSON, and not too deep.
fn parse(raw: &str) -> Value {
    json::value(raw.as_bytes()).map_or(Value::Null, |(value, _)| value)
}

/// A JSON object with its secrets masked.
pub(super) fn masked_object(raw: &str) -> Option<String> {
    let (mut value, _) = json::value(raw.as_bytes()).ok()?;
    mask(&mut value);
    value.is_object().then(|| value.to_string())
}
