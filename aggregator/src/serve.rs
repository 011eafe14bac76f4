//! Connections of the one port: accepted, and made TLS where a certificate was given. What goes over them is not seen here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

pub mod certificate;

/// A handshake takes two round trips; who needs longer is not there, or means to stay.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes at a time, of some 40 KiB each. One more connection is closed at once, so that those who never finish theirs
/// delay nobody who is accepted before.
const HANDSHAKES_MAX: usize = 256;
/// Connections between the accept loop and the server, which takes them at once.
const WAITING_MAX: usize = 16;
/// Pause after the system had no more file descriptors: they come back when connections end.
const PAUSE: Duration = Duration::from_millis(100);

/// One connection.
#[derive(Debug)]
pub enum Socket {
    /// In clear.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connections as they come, until it is dropped; that closes the listener.
pub type Incoming = ReceiverStream<Result<Socket, Infallible>>;

/// Accepts from now on.
pub fn incoming(listener: TcpListener, tls: Option<TlsAcceptor>) -> Incoming {
    let (sockets, stream) = mpsc::channel(WAITING_MAX);
    tokio::spawn(accept(listener, tls, sockets));
    ReceiverStream::new(stream)
}

type Sockets = mpsc::Sender<Result<Socket, Infallible>>;

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, sockets: Sockets) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut turned_away: u64 = 0;
    loop {
        let accepted = tokio::select! {
            () = sockets.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // A socket that takes no options is broken, which its first read says.
        let _broken = stream.set_nodelay(true);
        let Some(acceptor) = &tls else {
            if sockets.send(Ok(Socket::Plain(stream))).await.is_err() {
                return;
            }
            continue;
        };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            turned_away += 1;
            if turned_away.is_power_of_two() {
                tracing::warn!(
                    turned_away,
                    "connections are closed unheard: {HANDSHAKES_MAX} TLS handshakes are unfinished"
                );
            }
            continue;
        };
        tokio::spawn(handshake(acceptor.clone(), stream, sockets.clone(), permit));
    }
}

/// Ends within [`HANDSHAKE_WITHIN`].
async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    sockets: Sockets,
    permit: OwnedSemaphorePermit,
) {
    let peer = stream.peer_addr().ok();
    match tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            drop(permit);
            // Fails when the server has ended, and then the connection ends too.
            let _ended = sockets.send(Ok(Socket::Tls(Box::new(stream)))).await;
        }
        // Whoever scans ports makes these: no more than a word for who looks for it.
        Ok(Err(error)) => tracing::debug!(?peer, %error, "a TLS handshake failed"),
        Err(_elapsed) => tracing::debug!(?peer, "a TLS handshake was not finished in time"),
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        match self {
            Self::Plain(stream) => stream.connect_info(),
            Self::Tls(stream) => stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
