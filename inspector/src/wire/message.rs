//! A broker message and how to open it: kombu's envelope on Redis, properties and body on AMQP. Follows
//! `kombu/transport/virtual/base.py`.

use std::borrow::Cow;
use std::fmt;

use base64_simd::{Out, STANDARD};
use bytes::Bytes;
use serde::Deserialize;

use super::content::{self, Compression, Content, NotJson};
use super::json::{Document, MaybeText, Text};
use super::rejection::sample;
pub use sent::encode_envelope;
use tails::Tails;

mod sent;
mod tails;
#[cfg(test)]
mod tests;
mod usual;

/// Largest message that is read, bytes, as it was on the broker.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The decode buffer is given back after a message when it is larger than this and the next one needs less, bytes.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// A message as a broker delivered it.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Redis: kombu's envelope, one JSON object (`kombu/transport/virtual/base.py`).
    Envelope(Bytes),
    /// AMQP: properties and plain body.
    Properties {
        /// `content_type`, such as `application/json`.
        content_type: String,
        /// `content_encoding`, such as `utf-8`.
        content_encoding: String,
        /// The header `compression`, when set.
        compression: Option<String>,
        /// The header `ticket` of a pidbox reply.
        ticket: Option<String>,
        /// The header `hostname` of an event: who sent it.
        hostname: Option<String>,
        /// The routing key it came by.
        routing_key: Option<String>,
        /// The serialized body.
        body: Vec<u8>,
    },
}

impl Frame {
    /// Size on the broker, bytes, without AMQP's properties.
    pub fn size(&self) -> usize {
        match self {
            Self::Envelope(bytes) => bytes.len(),
            Self::Properties { body, .. } => body.len(),
        }
    }
}

/// A message whose body can be decoded: JSON, or what was rewritten as JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The body as JSON. Whether one that says to be JSON is, is not known yet.
    pub body: &'a [u8],
    /// The header `ticket`: which request a pidbox reply answers.
    pub ticket: Option<Cow<'a, str>>,
}

/// Why a message was not opened. The texts are a fixed set, fit for counting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Unreadable {
    /// Larger than [`MESSAGE_BYTES_MAX`].
    TooLarge,
    /// Not kombu's envelope.
    Envelope {
        /// Its beginning.
        sample: String,
    },
    /// `body_encoding` is none of kombu's.
    BodyEncoding {
        /// The encoding it names.
        sample: String,
    },
    /// The body is no base64, though said to be.
    Base64 {
        /// The beginning of the body.
        sample: String,
    },
    /// A serializer of kombu's that is never read.
    Content(Content),
    /// The body is not of the kind that it says.
    Broken(Content),
    /// A content type that kombu does not know.
    UnknownContent {
        /// The type it names.
        sample: String,
    },
    /// A compression of kombu's that is not read.
    Compressed(Compression),
    /// A compression that kombu does not know.
    UnknownCompression {
        /// The compression it names.
        sample: String,
    },
}

impl Unreadable {
    /// The reason, one of a fixed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "larger than 16 MiB",
            Self::Envelope { .. } => "truncated or invalid envelope",
            Self::BodyEncoding { .. } => "unknown body encoding",
            Self::Base64 { .. } => "body is not base64",
            Self::Content(content) => content.refusal().unwrap_or("content type is not read"),
            Self::Broken(content) => content.breakage(),
            Self::UnknownContent { .. } => Content::Unknown
                .refusal()
                .unwrap_or("content type is not read"),
            Self::Compressed(compression) => compression.refusal(),
            Self::UnknownCompression { .. } => Compression::Unknown.refusal(),
        }
    }

    /// At most 256 characters of what could not be read; none of what is never read.
    pub fn sample(&self) -> Option<&str> {
        match self {
            // A binary body has nothing to show, and of a signed one nobody knows what is in it.
            Self::TooLarge | Self::Content(_) | Self::Broken(_) | Self::Compressed(_) => None,
            Self::Envelope { sample }
            | Self::BodyEncoding { sample }
            | Self::Base64 { sample }
            | Self::UnknownContent { sample }
            | Self::UnknownCompression { sample } => Some(sample),
        }
    }
}

/// Where a message came from, as far as its headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The node that sent an event.
    pub hostname: Option<String>,
    /// The routing key it was sent with.
    pub routing_key: Option<String>,
    /// Which request a reply answers.
    pub ticket: Option<String>,
}

impl Frame {
    /// Where it came from; for messages that cannot be opened, since it reads the whole envelope.
    pub fn origin(&self) -> Origin {
        let owned = |text: MaybeText<'_>| text.0.map(Cow::into_owned);
        match self {
            Self::Properties {
                ticket,
                hostname,
                routing_key,
                ..
            } => Origin {
                hostname: hostname.clone(),
                routing_key: routing_key.clone(),
                ticket: ticket.clone(),
            },
            Self::Envelope(bytes) if bytes.len() <= MESSAGE_BYTES_MAX => {
                let Ok(sent) = serde_json::from_slice::<Stamped<'_>>(bytes) else {
                    return Origin::default();
                };
                let headers = sent.headers.unwrap_or_default();
                let delivery = sent.properties.and_then(|sent| sent.delivery_info);
                Origin {
                    hostname: owned(headers.hostname),
                    routing_key: delivery.and_then(|sent| owned(sent.routing_key)),
                    ticket: owned(headers.ticket),
                }
            }
            Self::Envelope(_) => Origin::default(),
        }
    }
}

/// The parts of an envelope that say where it came from.
#[derive(Deserialize)]
struct Stamped<'a> {
    #[serde(borrow, default)]
    headers: Option<StampedHeaders<'a>>,
    #[serde(borrow, default)]
    properties: Option<StampedProperties<'a>>,
}

#[derive(Deserialize, Default)]
struct StampedHeaders<'a> {
    #[serde(borrow, default)]
    hostname: MaybeText<'a>,
    #[serde(borrow, default)]
    ticket: MaybeText<'a>,
}

#[derive(Deserialize)]
struct StampedProperties<'a> {
    #[serde(borrow, default)]
    delivery_info: Option<StampedDelivery<'a>>,
}

#[derive(Deserialize)]
struct StampedDelivery<'a> {
    #[serde(borrow, default)]
    routing_key: MaybeText<'a>,
}

/// Opens messages, one after the other, with buffers that are used again.
#[derive(Default)]
pub struct Opener {
    body: Vec<u8>,
    rewritten: Vec<u8>,
    mended: String,
    tails: Tails,
}

/// Without the message last opened.
impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// Opens a message.
    ///
    /// # Errors
    /// When it is too large, no envelope, or its body is of a kind that is not read.
    pub fn open<'a>(&'a mut self, frame: &'a Frame) -> Result<Opened<'a>, Unreadable> {
        if frame.size() > MESSAGE_BYTES_MAX {
            return Err(Unreadable::TooLarge);
        }
        self.give_back(frame.size());
        match frame {
            Frame::Properties {
                content_type,
                compression,
                ticket,
                body,
                ..
            } => {
                let content = accept(content_type, compression.as_deref())?;
                Ok(Opened {
                    body: as_json(content, body, &mut self.rewritten)?,
                    ticket: ticket.as_deref().map(Cow::Borrowed),
                })
            }
            Frame::Envelope(bytes) => {
                let Self {
                    body,
                    rewritten,
                    mended,
                    tails,
                } = self;
                let known = tails.body(bytes);
                if let Some(length) = known.and_then(|text| strict_base64(text, body)) {
                    return Ok(Opened {
                        body: &body[..length],
                        ticket: None,
                    });
                }
                let envelope = Envelope::read(bytes, mended)?;
                let headers = envelope.headers.unwrap_or_default();
                let content = accept(
                    envelope.content_type.0.as_deref().unwrap_or_default(),
                    headers.compression.0.as_deref(),
                )?;
                let encoding = envelope.properties.unwrap_or_default().body_encoding.0;
                let is_plain = content == Content::Json
                    && headers.ticket.0.is_none()
                    && headers.compression.0.is_none();
                if is_plain && encoding.as_deref() == Some("base64") {
                    tails.learn(bytes);
                }
                let plain = plain_body(envelope.body, encoding.as_deref(), body)?;
                Ok(Opened {
                    body: as_json(content, plain, rewritten)?,
                    ticket: headers.ticket.0,
                })
            }
        }
    }

    /// Gives the memory of a large message back once smaller ones follow.
    fn give_back(&mut self, next_bytes: usize) {
        if self.body.len() > BUFFER_BYTES_KEPT && next_bytes < BUFFER_BYTES_KEPT {
            self.body = Vec::new();
        }
        if self.rewritten.capacity() > BUFFER_BYTES_KEPT && next_bytes < BUFFER_BYTES_KEPT {
            self.rewritten = Vec::new();
        }
        if self.mended.capacity() > BUFFER_BYTES_KEPT && next_bytes < BUFFER_BYTES_KEPT {
            self.mended = String::new();
        }
    }
}

/// Of which kind a body is, when it is read.
fn accept(content_type: &str, compression: Option<&str>) -> Result<Content, Unreadable> {
    let content = Content::of(content_type);
    if content == Content::Unknown {
        return Err(Unreadable::UnknownContent {
            sample: sample(content_type.as_bytes()),
        });
    }
    if content.refusal().is_some() {
        return Err(Unreadable::Content(content));
    }
    match compression.map(|header| (header, Compression::of(header))) {
        None | Some(("", _)) => Ok(content),
        Some((header, Compression::Unknown)) => Err(Unreadable::UnknownCompression {
            sample: sample(header.as_bytes()),
        }),
        Some((_, known)) => Err(Unreadable::Compressed(known)),
    }
}

/// A body as JSON: itself, or rewritten.
fn as_json<'a>(
    content: Content,
    body: &'a [u8],
    rewritten: &'a mut Vec<u8>,
) -> Result<&'a [u8], Unreadable> {
    if content == Content::Json {
        return Ok(body);
    }
    match content::to_json(content, body, rewritten) {
        Ok(()) => Ok(rewritten),
        Err(NotJson::Broken(content)) => Err(Unreadable::Broken(content)),
        Err(NotJson::Refused(content)) => Err(Unreadable::Content(content)),
    }
}

/// The serialized body out of an envelope's text (`Channel.decode_body`).
fn plain_body<'a>(
    body: Cow<'a, str>,
    encoding: Option<&str>,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], Unreadable> {
    match encoding {
        None | Some("") => {}
        Some(plain) if plain.eq_ignore_ascii_case("utf-8") => {}
        Some("base64") => return decode_base64(body.as_bytes(), buffer),
        Some(other) => {
            return Err(Unreadable::BodyEncoding {
                sample: sample(other.as_bytes()),
            });
        }
    }
    match body {
        Cow::Borrowed(text) => Ok(text.as_bytes()),
        Cow::Owned(text) => {
            *buffer = text.into_bytes();
            Ok(buffer)
        }
    }
}

fn decode_base64<'a>(text: &[u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], Unreadable> {
    let length = strict_base64(text, buffer)
        // Python takes line breaks too.
        .or_else(|| {
            let decoded = base64_simd::forgiving_decode(text, Out::from_slice(buffer)).ok()?;
            Some(decoded.len())
        });
    length
        .map(|length| &buffer[..length])
        .ok_or_else(|| Unreadable::Base64 {
            sample: sample(text),
        })
}

/// Decodes base64 into the beginning of `buffer`, and gives its length; `None` when it is not strictly so.
fn strict_base64(text: &[u8], buffer: &mut Vec<u8>) -> Option<usize> {
    // Only ever grown, so that the zeroes are written once.
    let room = STANDARD
        .estimated_decoded_length(text.len())
        .max(text.len());
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    let decoded = STANDARD.decode(text, Out::from_slice(buffer)).ok()?;
    Some(decoded.len())
}

/// The parts of an envelope that opening it needs.
#[derive(Debug, PartialEq, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, deserialize_with = "text")]
    body: Cow<'a, str>,
    #[serde(borrow, default, rename = "content-type")]
    content_type: MaybeText<'a>,
    #[serde(borrow, default)]
    headers: Option<Headers<'a>>,
    #[serde(borrow, default)]
    properties: Option<Properties<'a>>,
}

#[derive(Debug, PartialEq, Deserialize, Default)]
struct Headers<'a> {
    #[serde(borrow, default)]
    ticket: MaybeText<'a>,
    #[serde(borrow, default)]
    compression: MaybeText<'a>,
}

#[derive(Debug, PartialEq, Deserialize, Default)]
struct Properties<'a> {
    #[serde(borrow, default)]
    body_encoding: MaybeText<'a>,
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    Text::deserialize(deserializer).map(|text| text.0)
}

impl<'a> Envelope<'a> {
    /// Reads an envelope: as kombu writes it, else strictly, else mended into `mended`.
    fn read(bytes: &'a [u8], mended: &'a mut String) -> Result<Self, Unreadable> {
        if let Some(envelope) = usual::read(bytes) {
            return Ok(envelope);
        }
        if let Ok(envelope) = serde_json::from_slice(bytes) {
            return Ok(envelope);
        }
        let unreadable = || Unreadable::Envelope {
            sample: sample(bytes),
        };
        let document = Document::read(bytes).map_err(|_| unreadable())?;
        if !document.mended() {
            return Err(unreadable());
        }
        *mended = document.into_text();
        serde_json::from_str(mended).map_err(|_| unreadable())
    }
}
