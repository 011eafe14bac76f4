//! The recorded events at any length: each copy of the recording is another life of its workers and other tasks.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Process ids of one copy lie within this of each other.
const PIDS_PER_COPY: u64 = 10_000;
/// As Celery's monitors subscribe.
pub(crate) const PATTERN: &str = "/0.celeryev/*";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    payload: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    body: &'a str,
    #[serde(borrow)]
    headers: &'a RawValue,
}

#[derive(Deserialize)]
struct Facts<'a> {
    r#type: &'a str,
    clock: u64,
}

/// What of an event differs from copy to copy.
enum Piece {
    Text(String),
    /// The first eight digits of a task id.
    Id(u32),
    Clock(u64),
    Pid(u64),
    Timestamp,
}

struct Template {
    /// Its routing key's last word and its type, such as `task-received`.
    kind: String,
    channel: String,
    headers: String,
    body: Vec<Piece>,
}

/// How many events of which kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All.
    pub(crate) events: u64,
    /// Of tasks.
    pub(crate) task_events: u64,
    /// Of tasks, without custom types.
    pub(crate) usual_task_events: u64,
}

/// Makes events without end from a recording.
pub(crate) struct Stream {
    templates: Vec<Template>,
    clocks: u64,
    next: usize,
    copy: u64,
    body: String,
    encoded: String,
}

impl Stream {
    /// Reads the recording. A message that holds several events becomes several messages.
    pub(crate) fn open(recording: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(recording)
            .with_context(|| format!("cannot read {}", recording.display()))?;
        let mut templates = Vec::new();
        let mut clocks = 0;
        for line in text.lines() {
            let line: Line<'_> = serde_json::from_str(line)?;
            let envelope: Envelope<'_> = serde_json::from_str(&line.payload)?;
            let body = base64_simd::STANDARD.decode_to_vec(envelope.body)?;
            let body = std::str::from_utf8(&body)?;
            let events: Vec<&RawValue> = if body.starts_with('[') {
                serde_json::from_str(body)?
            } else {
                vec![serde_json::from_str(body)?]
            };
            for event in events {
                let facts: Facts<'_> = serde_json::from_str(event.get())?;
                clocks = clocks.max(facts.clock + 1);
                templates.push(Template {
                    kind: facts.r#type.to_owned(),
                    channel: format!("/0.celeryev/{}", facts.r#type.replace('-', ".")),
                    headers: envelope.headers.get().to_owned(),
                    body: pieces(event.get())?,
                });
            }
        }
        ensure!(!templates.is_empty(), "the recording is empty");
        Ok(Self {
            templates,
            clocks,
            next: 0,
            copy: 0,
            body: String::new(),
            encoded: String::new(),
        })
    }

    /// Appends a `PUBLISH` of the next event, sent at `seconds` (of the epoch), and counts it. Gives the size of the message
    /// that Redis makes of it for a subscriber.
    pub(crate) fn publish(
        &mut self,
        seconds: f64,
        out: &mut Vec<u8>,
        counts: &mut Counts,
    ) -> usize {
        let template = &self.templates[self.next];
        counts.add(&template.kind);
        self.body.clear();
        for piece in &template.body {
            // Writing to a string cannot fail.
            let _ = match piece {
                Piece::Text(text) => self.body.write_str(text),
                Piece::Id(digits) => write!(self.body, "{:08x}", digits ^ scatter(self.copy)),
                Piece::Clock(clock) => write!(self.body, "{}", clock + self.copy * self.clocks),
                Piece::Pid(pid) => write!(self.body, "{}", pid + self.copy * PIDS_PER_COPY),
                Piece::Timestamp => write!(self.body, "{seconds:.6}"),
            };
        }
        self.encoded.clear();
        base64_simd::STANDARD.encode_append(self.body.as_bytes(), &mut self.encoded);
        let routing_key = &template.channel["/0.celeryev/".len()..];
        self.body.clear();
        let _ = write!(
            self.body,
            "{{\"body\": \"{}\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \"headers\": {}, \
             \"properties\": {{\"delivery_mode\": 1, \"delivery_info\": {{\"exchange\": \"celeryev\", \"routing_key\": \
             \"{routing_key}\"}}, \"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \
             \"{:08x}-3a65-4e6d-8948-57bfe222b92e\"}}}}",
            self.encoded, template.headers, counts.events
        );
        command(&["PUBLISH", &template.channel, &self.body], out);
        let size = message_size(&template.channel, &self.body);
        self.next += 1;
        if self.next == self.templates.len() {
            self.next = 0;
            self.copy += 1;
        }
        size
    }
}

impl Counts {
    fn add(&mut self, kind: &str) {
        self.events += 1;
        if kind.starts_with("task-") {
            self.task_events += 1;
            self.usual_task_events += u64::from(kind != "task-progress");
        }
    }
}

/// Appends a command in Redis's protocol.
pub(crate) fn command(words: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// The size of what a subscriber by [`PATTERN`] gets.
pub(crate) fn message_size(channel: &str, payload: &str) -> usize {
    let bulk = |text: &str| text.len().to_string().len() + text.len() + "$\r\n\r\n".len();
    "*4\r\n".len() + bulk("pmessage") + bulk(PATTERN) + bulk(channel) + bulk(payload)
}

/// Spreads numbers of copies over all bits, so that ids of one copy do not share a beginning.
fn scatter(copy: u64) -> u32 {
    u32::try_from(copy.wrapping_mul(2_654_435_761) & 0xffff_ffff).unwrap_or_default()
}

/// Cuts an event's JSON at what differs from copy to copy.
fn pieces(json: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = json;
    while !rest.is_empty() {
        let (piece, length) = if let Some(number) = number_after(rest, "\"clock\": ") {
            (Piece::Clock(number.parse()?), number.len())
        } else if let Some(number) = number_after(rest, "\"pid\": ") {
            (Piece::Pid(number.parse()?), number.len())
        } else if let Some(number) = number_after(rest, "\"timestamp\": ") {
            (Piece::Timestamp, number.len())
        } else if is_uuid(rest) {
            plain_end(&mut plain, &mut pieces);
            pieces.push(Piece::Id(u32::from_str_radix(&rest[..8], 16)?));
            plain.push_str(&rest[8..36]);
            rest = &rest[36..];
            continue;
        } else {
            let end = rest.chars().next().map_or(1, char::len_utf8);
            plain.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        };
        let key = rest.find(": ").map_or(0, |colon| colon + 2);
        plain.push_str(&rest[..key]);
        plain_end(&mut plain, &mut pieces);
        pieces.push(piece);
        rest = &rest[key + length..];
    }
    plain_end(&mut plain, &mut pieces);
    Ok(pieces)
}

fn plain_end(plain: &mut String, pieces: &mut Vec<Piece>) {
    if !plain.is_empty() {
        pieces.push(Piece::Text(std::mem::take(plain)));
    }
}

fn number_after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(key)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    (end > 0).then_some(&rest[..end])
}

fn is_uuid(text: &str) -> bool {
    let Some(candidate) = text.as_bytes().get(..36) else {
        return false;
    };
    candidate
        .iter()
        .enumerate()
        .all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
