//! Every command a redis-server runs, read off `MONITOR`, and which of them write which keys.

use std::collections::{BTreeSet, HashMap};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::redis::Redis;
use crate::resp::{Connection, Value};
use crate::wait::eventually_blocking;

/// How long the recording may lag behind a busy server.
const CATCH_UP: Duration = Duration::from_secs(30);

/// One command as the server ran it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoredCommand {
    /// When, in microseconds since the Unix epoch (the server's clock).
    pub micros: i64,
    /// Who sent it: `address:port`, or `lua` inside a script.
    pub client: String,
    /// The command and its arguments. Bytes above 127 appear as `\u{80}` to `\u{ff}`.
    pub words: Vec<String>,
}

/// A running recording.
pub struct Monitor {
    commands: Arc<Mutex<Vec<MonitoredCommand>>>,
    socket: TcpStream,
    reader: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts to record on a connection of its own.
    ///
    /// # Panics
    /// When the server refuses `MONITOR`.
    pub(crate) fn start(mut connection: Connection) -> Self {
        connection
            .command(&["MONITOR"])
            .expect("the default user may MONITOR");
        let socket = connection.closer().expect("a socket can be shared");
        let commands = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&commands);
        let reader = std::thread::spawn(move || {
            // An error is the end of the server or of this recording.
            while let Ok(answer) = connection.read_patiently() {
                if let Value::Text(line) = answer
                    && let Ok(command) = parse(&line)
                {
                    let mut commands = writer.lock().unwrap_or_else(PoisonError::into_inner);
                    commands.push(command);
                }
            }
        });
        Self {
            commands,
            socket,
            reader: Some(reader),
        }
    }

    /// The commands so far.
    pub fn commands(&self) -> Vec<MonitoredCommand> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until everything that the server took before now is among the commands.
    ///
    /// # Panics
    /// When the server does not answer, or the recording has ended.
    pub fn catch_up(&self, redis: &Redis) {
        let mark = uuid::Uuid::new_v4().to_string();
        redis.cli(&["ECHO", &mark]);
        let marked = |command: &MonitoredCommand| command.words.get(1) == Some(&mark);
        eventually_blocking("the recording has caught up", CATCH_UP, || {
            let commands = self.commands.lock();
            let commands = commands.unwrap_or_else(PoisonError::into_inner);
            if commands.iter().rev().any(marked) {
                Ok(())
            } else {
                Err(format!("{} commands", commands.len()))
            }
        });
    }

    /// The keys written so far by any of these clients, by Redis's own account of what a command's keys are and whether
    /// it writes.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn written_keys(&self, redis: &Redis, clients: &BTreeSet<SocketAddr>) -> BTreeSet<String> {
        let clients: BTreeSet<String> = clients.iter().map(ToString::to_string).collect();
        let mut connection = redis.connect().expect("the server runs");
        let mut writes = HashMap::<String, bool>::new();
        let mut keys = BTreeSet::new();
        for command in self.commands() {
            let Some(name) = command.words.first() else {
                continue;
            };
            if !clients.contains(&command.client) {
                continue;
            }
            let name = name.to_ascii_lowercase();
            let is_write = *writes
                .entry(name.clone())
                .or_insert_with(|| is_write(&mut connection, &name));
            if is_write {
                let words: Vec<Vec<u8>> = command.words.iter().map(|word| bytes(word)).collect();
                let mut question: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYS"];
                question.extend(words.iter().map(Vec::as_slice));
                // An error says that the command has no keys.
                if let Ok(answer) = connection.command_bytes(&question) {
                    keys.extend(answer.texts());
                }
            }
        }
        keys
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Fails when the server is gone; then the reader has ended by itself.
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Whether a command writes, by its flags. Scripts count as writing: their keys are declared, what they do is not.
fn is_write(connection: &mut Connection, name: &str) -> bool {
    if ["eval", "evalsha", "fcall"].contains(&name) {
        return true;
    }
    let Ok(Value::List(rows)) = connection.command(&["COMMAND", "INFO", name]) else {
        return false;
    };
    let Some(Value::List(row)) = rows.into_iter().next() else {
        return false;
    };
    row.into_iter()
        .nth(2)
        .is_some_and(|flags| flags.texts().iter().any(|flag| flag == "write"))
}

/// Characters back to the bytes they stand for.
fn bytes(word: &str) -> Vec<u8> {
    word.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect()
}

/// `1700000000.123456 [0 127.0.0.1:4711] "SET" "key" "a \"b\" \x06"` as a command.
fn parse(line: &str) -> Result<MonitoredCommand> {
    let (time, rest) = line.split_once('[').context("no [")?;
    let (seconds, fraction) = time.trim().split_once('.').context("no time")?;
    let micros = seconds.parse::<i64>()? * 1_000_000 + format!("{fraction:0<6}").parse::<i64>()?;
    let (origin, rest) = rest.split_once(']').context("no ]")?;
    let client = origin.split_once(' ').context("no client")?.1.to_owned();
    let mut words = Vec::new();
    let mut characters = rest.chars();
    let mut word: Option<String> = None;
    while let Some(c) = characters.next() {
        match (&mut word, c) {
            (None, '"') => word = Some(String::new()),
            (None, _) => {}
            (Some(_), '"') => words.extend(word.take()),
            (Some(text), '\\') => text.push(match characters.next().context("a lone \\")? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'x' => {
                    let digits: String = characters.by_ref().take(2).collect();
                    char::from(u8::from_str_radix(&digits, 16)?)
                }
                other => other,
            }),
            (Some(text), other) => text.push(other),
        }
    }
    Ok(MonitoredCommand {
        micros,
        client,
        words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let line =
            r#"1700000000.5 [3 127.0.0.1:4711] "LPUSH" "celery\x06\x163" "say \"hi\"\n\xc3""#;
        let command = parse(line).unwrap();
        assert_eq!(command.micros, 1_700_000_000_500_000);
        assert_eq!(command.client, "127.0.0.1:4711");
        assert_eq!(command.words[1], "celery\u{6}\u{16}3");
        assert_eq!(command.words[2], "say \"hi\"\n\u{c3}");
        assert_eq!(bytes(&command.words[2]).last(), Some(&0xc3));
    }

    #[test]
    fn keys_written_by_one_client_are_told_from_those_of_others() {
        let redis = Redis::start();
        let monitor = redis.monitor();
        let mut ours = redis.connect().unwrap();
        let address = ours.closer().unwrap().local_addr().unwrap();
        ours.command(&["RPUSH", "ours", "x"]).unwrap();
        ours.command(&["GET", "only-read"]).unwrap();
        ours.command(&[
            "EVAL",
            "return redis.call('set', KEYS[1], 1)",
            "1",
            "script",
        ])
        .unwrap();
        redis.cli(&["SET", "theirs", "1"]);
        monitor.catch_up(&redis);
        let keys = monitor.written_keys(&redis, &BTreeSet::from([address]));
        assert_eq!(
            keys,
            BTreeSet::from(["ours".to_owned(), "script".to_owned()])
        );
    }
}
