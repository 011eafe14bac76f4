//! A TCP proxy in front of a broker: tells whose connections are whose, cuts them, and goes silent.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::redis::free_address;

/// A running proxy to one address.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    closed: AtomicBool,
    paused: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
    clients: Mutex<BTreeSet<SocketAddr>>,
}

impl Proxy {
    /// Starts a proxy to `target`.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(free_address()).expect("the port was just free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target,
            closed: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            sockets: Mutex::default(),
            clients: Mutex::default(),
        });
        let acceptor = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if acceptor.closed.load(Ordering::Relaxed) {
                    return;
                }
                // A broker that is down shows to the client as a connection closed at once.
                if let Ok(client) = client {
                    let _ = acceptor.join(&client);
                }
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The addresses by which the broker has seen the connections made through here, closed ones included.
    pub fn clients(&self) -> BTreeSet<SocketAddr> {
        self.shared
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Cuts every connection; new ones are accepted.
    pub fn cut(&self) {
        let mut sockets = self
            .shared
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.drain(..) {
            // Fails when the peer was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Holds everything back (`true`) or lets it flow again: a network that drops packets.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the acceptor, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: &TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.target)?;
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(server.local_addr()?);
        self.sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend([client.try_clone()?, server.try_clone()?]);
        for (from, to) in [
            (client.try_clone()?, server.try_clone()?),
            (server.try_clone()?, client.try_clone()?),
        ] {
            let shared = Arc::clone(self);
            std::thread::spawn(move || shared.pump(from, to));
        }
        Ok(())
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            while self.paused.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Redis;
    use crate::resp::Connection;

    #[test]
    fn it_passes_cuts_and_names_its_connections() {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let mut through = Connection::open(proxy.address()).unwrap();
        let info = through.command(&["CLIENT", "INFO"]).unwrap();
        let seen = proxy.clients();
        let address = seen.first().unwrap().to_string();
        assert!(format!("{info:?}").contains(&address), "{info:?} {address}");
        proxy.cut();
        assert!(through.command(&["PING"]).is_err());
        assert!(
            Connection::open(proxy.address())
                .unwrap()
                .command(&["PING"])
                .is_ok()
        );
    }
}
