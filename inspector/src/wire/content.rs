//! Content types and compressions as kombu names them: which are read and which are not; and what is not JSON, as JSON.
//! Follows `kombu/serialization.py` and `kombu/compression.py`.

use serde::Serialize;

mod msgpack;
mod signed;
#[cfg(test)]
mod tests;
mod text;
mod yaml;

/// How a body is serialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// `application/json`.
    Json,
    /// `application/x-msgpack`.
    MessagePack,
    /// `application/x-yaml`.
    Yaml,
    /// `application/data`: Celery's `auth` serializer, signed.
    Auth,
    /// `application/x-python-serialize`: reading it can run code, so it is never read.
    Pickle,
    /// None of kombu's.
    Unknown,
}

impl Content {
    /// The content a type stands for. Parameters after `;` and letter case do not count.
    pub fn of(content_type: &str) -> Self {
        let name = content_type.split(';').next().unwrap_or_default().trim();
        let known = [
            ("application/json", Self::Json),
            ("application/x-msgpack", Self::MessagePack),
            ("application/x-yaml", Self::Yaml),
            ("application/data", Self::Auth),
            ("application/x-python-serialize", Self::Pickle),
        ];
        known
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map_or(Self::Unknown, |(_, content)| content)
    }

    /// Why it is not read; nothing when it is.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::MessagePack | Self::Yaml | Self::Auth => None,
            Self::Pickle => Some("content type application/x-python-serialize is never read"),
            Self::Unknown => Some("unknown content type"),
        }
    }

    /// Why a body is not read that says to be of this kind and is not.
    pub fn breakage(self) -> &'static str {
        match self {
            Self::Json => "body is not JSON",
            Self::MessagePack => "body is not MessagePack",
            Self::Yaml => "body is not YAML",
            Self::Auth => "body is not signed content",
            Self::Pickle | Self::Unknown => "body is not read",
        }
    }
}

/// A body is not what its content type says, or stands for more than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct Broken;

/// Why a body does not become JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum NotJson {
    /// It is not of this kind, though it says so.
    Broken(Content),
    /// This kind is not read; it is what was signed, when the body is signed.
    Refused(Content),
}

/// Rewrites a body of some kind as JSON into `out`. Of signed content it is what was signed; the signature is not checked.
///
/// # Errors
/// When it is not of that kind, deeper than JSON is read, larger than a message may be, or of a kind that is not read.
pub(in crate::wire) fn to_json(
    content: Content,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NotJson> {
    let broken = |Broken| NotJson::Broken(content);
    match content {
        Content::MessagePack => msgpack::to_json(body, out).map_err(broken),
        Content::Yaml => yaml::to_json(body, out).map_err(broken),
        Content::Auth => {
            let signed = signed::Signed::read(body).map_err(broken)?;
            match signed.content {
                Content::Json => {
                    out.clear();
                    out.extend_from_slice(signed.body());
                    Ok(())
                }
                // One in another is nothing that Celery makes.
                Content::Auth => Err(NotJson::Broken(content)),
                inner => to_json(inner, signed.body(), out),
            }
        }
        Content::Json | Content::Pickle | Content::Unknown => Err(NotJson::Refused(content)),
    }
}

/// How requests are serialized: the app's `task_serializer`, or any other of its `accept_content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serializer {
    /// `json`, Celery's default.
    #[default]
    Json,
    /// `msgpack`.
    MessagePack,
    /// `yaml`.
    Yaml,
}

impl Serializer {
    /// Content type and content encoding, as kombu registers them.
    pub fn content(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application/json", "utf-8"),
            Self::MessagePack => ("application/x-msgpack", "binary"),
            Self::Yaml => ("application/x-yaml", "utf-8"),
        }
    }

    /// Serializes a value that JSON can hold.
    pub(in crate::wire) fn encode(self, value: &impl Serialize) -> Vec<u8> {
        const FITS: &str = "text keys and JSON values always serialize";
        match self {
            // JSON is YAML too.
            Self::Json | Self::Yaml => serde_json::to_vec(value).expect(FITS),
            Self::MessagePack => msgpack::from_json(&serde_json::to_value(value).expect(FITS)),
        }
    }
}

/// How a body is compressed (header `compression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// `application/x-gzip`: zlib's format, whichever of kombu's two names was asked for.
    Zlib,
    /// `application/x-bz2`.
    Bzip2,
    /// `application/x-lzma`.
    Lzma,
    /// `application/x-brotli`.
    Brotli,
    /// `application/zstd`.
    Zstandard,
    /// None of kombu's.
    Unknown,
}

impl Compression {
    /// The compression a header stands for: kombu's content type, or the short name it is registered under.
    pub fn of(header: &str) -> Self {
        match header.trim() {
            "application/x-gzip" | "gzip" | "zlib" => Self::Zlib,
            "application/x-bz2" | "bzip2" | "bzip" => Self::Bzip2,
            "application/x-lzma" | "lzma" | "xz" => Self::Lzma,
            "application/x-brotli" | "brotli" => Self::Brotli,
            "application/zstd" | "zstd" | "zstandard" => Self::Zstandard,
            _ => Self::Unknown,
        }
    }

    /// Why it is not read.
    pub fn refusal(self) -> &'static str {
        match self {
            Self::Zlib => "compression application/x-gzip is not read yet",
            Self::Bzip2 => "compression application/x-bz2 is not read yet",
            Self::Lzma => "compression application/x-lzma is not read yet",
            Self::Brotli => "compression application/x-brotli is not read yet",
            Self::Zstandard => "compression application/zstd is not read yet",
            Self::Unknown => "unknown compression",
        }
    }
}
