//! Who a client is: a bearer token, put into every call and shown nowhere.

use std::fmt;
use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Bytes of a token file that are read at most: tokens of Kubernetes have about 1 KiB, another file may have more.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// What is sent as `authorization`; nothing unless given.
#[derive(Clone, Default)]
pub(crate) enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// This.
    Fixed(MetadataValue<Ascii>),
    /// What the file holds at each call: Kubernetes replaces projected tokens while they are in use.
    File(PathBuf),
}

/// A token that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Its file cannot be read.
    #[error("the token cannot be read from {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is none: empty, or with characters that no token has.
    #[error("a token is visible ASCII without spaces, and this is none")]
    Form,
}

impl Credentials {
    /// A token as given; white space around it does not belong to it.
    pub(crate) fn fixed(token: &str) -> Result<Self, TokenError> {
        header(token).map(Self::Fixed)
    }

    /// What the next call would send, to find out early what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        self.value().map(drop)
    }

    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    fn value(&self) -> Result<Option<MetadataValue<Ascii>>, TokenError> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            // A file of one page in memory: not worth a thread of its own.
            Self::File(path) => header(&read(path)?).map(Some),
        }
    }
}

fn read(path: &Path) -> Result<String, TokenError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| TokenError::File {
            path: path.to_owned(),
            source,
        })?;
    Ok(text)
}

fn header(token: &str) -> Result<MetadataValue<Ascii>, TokenError> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Form);
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_no_header| TokenError::Form)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = self.value().map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            Status::unauthenticated(format!("{error}{}", source.unwrap_or_default()))
        })?;
        if let Some(value) = value {
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Fixed(_) => f.write_str("Fixed"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_checked_and_never_shown() {
        for bad in ["", " \n", "a b", "a\u{e9}"] {
            assert!(matches!(Credentials::fixed(bad), Err(TokenError::Form)));
        }
        let credentials = Credentials::fixed(" hunter2\n").expect("it is a token");
        assert!(!format!("{credentials:?}").contains("hunter2"));
        let mut sending = credentials;
        let request = sending.call(Request::new(())).expect("it is put in");
        let sent = request.metadata().get("authorization");
        let sent = sent.expect("it was put in");
        assert_eq!(sent, "Bearer hunter2");
        assert!(!format!("{sent:?}").contains("hunter2"), "it is sensitive");
    }

    #[test]
    fn a_file_is_read_at_each_call() {
        let folder = std::env::temp_dir().join(format!("celeriac-token-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let path = folder.join("token");
        let mut credentials = Credentials::File(path.clone());
        let status = credentials.call(Request::new(())).expect_err("no file yet");
        assert!(status.message().contains("token"), "{status}");
        for token in ["one", "two"] {
            std::fs::write(&path, token).expect("the folder is writable");
            let request = credentials.call(Request::new(())).expect("it is read");
            let sent = request.metadata().get("authorization");
            let sent = sent.expect("it was put in");
            assert_eq!(sent, format!("Bearer {token}").as_str());
        }
        std::fs::remove_dir_all(&folder).expect("it was made here");
    }
}
