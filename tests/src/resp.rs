//! Just enough of Redis's protocol to look at a server from outside, independent of the client under test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// An answer of Redis (RESP2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nil.
    Nil,
    /// A number.
    Number(i64),
    /// A status or a string; bytes that are not UTF-8 are replaced.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// The number it is.
    ///
    /// # Panics
    /// When it is none.
    pub fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("a number was expected, not {other:?}"),
        }
    }

    /// The texts of the list it is; other elements are left out.
    pub fn texts(self) -> Vec<String> {
        let Self::List(list) = self else {
            return Vec::new();
        };
        list.into_iter()
            .filter_map(|value| match value {
                Self::Text(text) => Some(text),
                _ => None,
            })
            .collect()
    }
}

/// A connection to a Redis server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When the connection breaks or Redis answers with an error.
    pub fn command(&mut self, words: &[&str]) -> Result<Value> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.command_bytes(&words)
    }

    /// Runs a command whose words need not be text.
    ///
    /// # Errors
    /// When the connection breaks or Redis answers with an error.
    pub fn command_bytes(&mut self, words: &[&[u8]]) -> Result<Value> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes)?;
        self.read()
    }

    /// Reads the next answer without a time limit on silence.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn read_patiently(&mut self) -> Result<Value> {
        self.stream.get_mut().set_read_timeout(None)?;
        self.read()
    }

    /// A second handle, to close the connection while another thread reads from it.
    ///
    /// # Errors
    /// When the system has no more handles.
    pub fn closer(&self) -> Result<TcpStream> {
        Ok(self.stream.get_ref().try_clone()?)
    }

    fn read(&mut self) -> Result<Value> {
        let line = self.line()?;
        let (kind, rest) = line
            .split_at_checked(1)
            .with_context(|| format!("an empty answer: {line:?}"))?;
        Ok(match kind {
            "+" => Value::Text(rest.to_owned()),
            "-" => bail!("{rest}"),
            ":" => Value::Number(rest.parse()?),
            "$" => {
                let Ok(length) = usize::try_from(rest.parse::<i64>()?) else {
                    return Ok(Value::Nil);
                };
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => {
                let Ok(length) = usize::try_from(rest.parse::<i64>()?) else {
                    return Ok(Value::Nil);
                };
                Value::List((0..length).map(|_| self.read()).collect::<Result<_>>()?)
            }
            other => bail!("an answer of unknown kind {other:?}: {rest}"),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        ensure!(line.ends_with(b"\r\n"), "the server closed the connection");
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}
