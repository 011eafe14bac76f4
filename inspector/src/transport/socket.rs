//! A socket to a server, with TLS when its URL says so. Knows nothing of what is said over it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::{TransportError, failure, tls};
use crate::wire::url::{Address, Server};

/// Bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connects to `server` and, if need be, speaks TLS, until `deadline`, which is `limit` after the beginning.
pub(super) async fn open(
    server: &Server,
    deadline: Instant,
    limit: Duration,
) -> Result<Box<dyn Duplex>, TransportError> {
    let late = |action| move |_| failure::timed_out(server, action, limit);
    let socket = timeout_at(deadline, connect(server))
        .await
        .map_err(late("the connection"))??;
    timeout_at(deadline, encrypt(server, socket))
        .await
        .map_err(late("the TLS handshake (does it speak TLS on this port?)"))?
}

async fn connect(server: &Server) -> Result<Socket, TransportError> {
    let unreachable = |error: io::Error| failure::unreachable(server, &error);
    match &server.address {
        Address::Unix { path } => Ok(Socket::Unix(
            UnixStream::connect(path).await.map_err(unreachable)?,
        )),
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port))
                .await
                .map_err(unreachable)?;
            settle(&stream).map_err(unreachable)?;
            Ok(Socket::Tcp(stream))
        }
    }
}

async fn encrypt(server: &Server, socket: Socket) -> Result<Box<dyn Duplex>, TransportError> {
    match (socket, &server.tls, &server.address) {
        (Socket::Tcp(stream), Some(options), Address::Tcp { host, .. }) => Ok(Box::new(
            tls::handshake(server, options, host, stream).await?,
        )),
        (Socket::Tcp(stream), ..) => Ok(Box::new(stream)),
        (Socket::Unix(stream), ..) => Ok(Box::new(stream)),
    }
}

/// Small commands go out at once, and a dead peer is noticed by the kernel too.
fn settle(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
