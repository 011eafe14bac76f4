//! RabbitMQ's management over HTTP, as an operator uses it: independent of the client under test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// Management as one user.
pub struct Management {
    address: SocketAddr,
    authorization: String,
}

impl Management {
    /// At this address.
    pub fn new(address: SocketAddr, user: &str, password: &str) -> Self {
        let authorization = base64_simd::STANDARD.encode_to_string(format!("{user}:{password}"));
        Self {
            address,
            authorization,
        }
    }

    /// A GET.
    ///
    /// # Errors
    /// When nobody answers, or with an error.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, None)
    }

    /// A PUT.
    ///
    /// # Errors
    /// When nobody answers, or with an error.
    pub fn put(&self, path: &str, body: &Value) -> Result<()> {
        self.ask("PUT", path, Some(body)).map(drop)
    }

    /// A POST.
    ///
    /// # Errors
    /// When nobody answers, or with an error.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", path, Some(body))
    }

    /// A DELETE.
    ///
    /// # Errors
    /// When nobody answers, or with an error.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.ask("DELETE", path, None).map(drop)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut stream = TcpStream::connect_timeout(&self.address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        // HTTP/1.0, so that the answer comes in one piece.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Basic {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.authorization,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer without a body")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("{method} {path}: {status} {body}");
        }
        if body.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(body).with_context(|| format!("{method} {path}: {body}"))
    }
}

/// A name as part of a path.
pub(super) fn escape(name: &str) -> String {
    use std::fmt::Write;

    name.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}
