//! The one producer: publishes the stream at a steady rate, as many workers together do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::stream::{Counts, PATTERN, Stream, command, message_size};

/// How often what is due is sent. Workers' events come apart; this is as fine as a sleep is exact.
const STEP: Duration = Duration::from_millis(1);
/// Said last, on a channel of events that nobody but the floor looks at the text of.
pub(crate) const END: &str = "the-end";

/// What was published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    /// Events by kind.
    pub(crate) counts: Counts,
    /// Bytes that a subscriber got.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Publishes `events` events at `rate` a second and returns when Redis has taken all of them.
pub(crate) fn publish(
    redis: SocketAddr,
    stream: &mut Stream,
    events: u64,
    rate: f64,
) -> Result<Published> {
    let mut connection = TcpStream::connect(redis)?;
    connection.set_nodelay(true)?;
    let mut out = Vec::new();
    command(&["CLIENT", "REPLY", "OFF"], &mut out);
    connection.write_all(&out)?;
    let mut counts = Counts::default();
    let mut bytes = 0;
    let (begin, wall) = (
        Instant::now(),
        SystemTime::now().duration_since(UNIX_EPOCH)?,
    );
    while counts.events < events {
        out.clear();
        let due = begin.elapsed().as_secs_f64() * rate;
        while counts.events < events && as_f64(counts.events) <= due {
            let seconds = wall.as_secs_f64() + as_f64(counts.events) / rate;
            bytes += stream.publish(seconds, &mut out, &mut counts) as u64;
        }
        connection.write_all(&out)?;
        std::thread::sleep(STEP);
    }
    wait_for_all(&mut connection)?;
    let took = begin.elapsed();
    Ok(Published {
        counts,
        bytes,
        took,
    })
}

/// Publishes the mark that the floor ends at; the size of the message.
pub(crate) fn publish_end(redis: SocketAddr) -> Result<usize> {
    let mut connection = TcpStream::connect(redis)?;
    let channel = "/0.celeryev/end";
    let mut out = Vec::new();
    command(&["PUBLISH", channel, END], &mut out);
    connection.write_all(&out)?;
    let mut answer = [0; 8];
    ensure!(connection.read(&mut answer)? > 0, "no answer");
    Ok(message_size(channel, END))
}

/// A subscriber that parses nothing: the least that receiving can cost. Prints how many bytes came after the subscription
/// was confirmed, up to and with the end mark, and then waits to be killed.
pub(crate) fn floor(redis: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(redis)?;
    let mut out = Vec::new();
    command(&["PSUBSCRIBE", PATTERN], &mut out);
    connection.write_all(&out)?;
    let mut buffer = vec![0; 64 * 1024];
    // The confirmation is one short write, long before the first event.
    ensure!(connection.read(&mut buffer)? > 0, "no confirmation");
    let end = format!("{END}\r\n");
    let mut bytes = 0;
    loop {
        let length = connection.read(&mut buffer)?;
        ensure!(length > 0, "the server closed the connection");
        bytes += length;
        if buffer[..length].ends_with(end.as_bytes()) {
            println!("bytes {bytes}");
            std::thread::sleep(Duration::from_mins(1));
        }
    }
}

fn wait_for_all(connection: &mut TcpStream) -> Result<()> {
    let mut out = Vec::new();
    command(&["CLIENT", "REPLY", "ON"], &mut out);
    connection.write_all(&out)?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer)?;
    ensure!(&answer == b"+OK\r\n", "Redis answered {answer:?}");
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "events of one run are far fewer than 2^53"
)]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
