//! Content types and compressions as kombu names them: which are read and which are not. Follows
//! `kombu/serialization.py` and `kombu/compression.py`.

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
            Self::Json => None,
            Self::MessagePack => Some("content type application/x-msgpack is not read yet"),
            Self::Yaml => Some("content type application/x-yaml is not read yet"),
            Self::Auth => Some("content type application/data is not read yet"),
            Self::Pickle => Some("content type application/x-python-serialize is never read"),
            Self::Unknown => Some("unknown content type"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_kombus_names() {
        assert_eq!(Content::of("application/json"), Content::Json);
        assert_eq!(
            Content::of("Application/JSON; charset=utf-8"),
            Content::Json
        );
        assert_eq!(Content::of("application/x-msgpack"), Content::MessagePack);
        assert_eq!(
            Content::of("application/x-python-serialize"),
            Content::Pickle
        );
        assert_eq!(Content::of("application/data"), Content::Auth);
        assert_eq!(Content::of(""), Content::Unknown);
        assert_eq!(Content::of("application/jsonx"), Content::Unknown);
    }

    #[test]
    fn only_json_is_read() {
        assert_eq!(Content::Json.refusal(), None);
        assert_eq!(
            Content::Pickle.refusal(),
            Some("content type application/x-python-serialize is never read")
        );
    }

    #[test]
    fn compressions_are_kombus_names() {
        assert_eq!(Compression::of("application/x-gzip"), Compression::Zlib);
        assert_eq!(Compression::of("zstd"), Compression::Zstandard);
        assert_eq!(Compression::of("snappy"), Compression::Unknown);
    }
}
