//! A TCP proxy in front of a server: tells whose connections are whose, and breaks them in every way that a network does.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::redis::free_address;

mod fault;

pub use fault::{Fault, Faults};

/// How often something that is held back is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A running proxy to one address.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

struct Shared {
    target: SocketAddr,
    closed: AtomicBool,
    /// Up and down.
    held: [AtomicBool; 2],
    refusing: AtomicBool,
    delay_micros: AtomicU64,
    /// Bytes that may still go up before everything is cut; negative: any number.
    allowance: AtomicI64,
    links: Mutex<Vec<Arc<Link>>>,
    clients: Mutex<BTreeSet<SocketAddr>>,
}

/// One connection through the proxy.
struct Link {
    sockets: [TcpStream; 2],
    over: AtomicBool,
    /// Up and down.
    stranded: [AtomicBool; 2],
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
            held: [AtomicBool::new(false), AtomicBool::new(false)],
            refusing: AtomicBool::new(false),
            delay_micros: AtomicU64::new(0),
            allowance: AtomicI64::new(-1),
            links: Mutex::default(),
            clients: Mutex::default(),
        });
        let acceptor = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if acceptor.closed.load(Ordering::Relaxed) {
                    return;
                }
                // A server that is down shows to the client as a connection closed at once.
                if let (Ok(client), false) = (client, acceptor.refusing.load(Ordering::Relaxed)) {
                    let _ = acceptor.join(client);
                }
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The addresses by which the server has seen the connections made through here, closed ones included.
    pub fn clients(&self) -> BTreeSet<SocketAddr> {
        let clients = self.shared.clients.lock();
        clients.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts every connection; new ones are accepted. What was held back is lost.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts every connection as soon as this many more bytes have gone up: in the middle of a message, most likely.
    pub fn cut_after(&self, bytes: u32) {
        self.shared
            .allowance
            .store(i64::from(bytes), Ordering::Relaxed);
    }

    /// Holds everything back (`true`) or lets it flow again: a network that drops packets.
    pub fn pause(&self, paused: bool) {
        self.hold(Direction::Up, paused);
        self.hold(Direction::Down, paused);
    }

    /// Holds back one direction only: a half-open connection. Nothing is lost, as TCP sends again what was not received.
    pub fn hold(&self, direction: Direction, held: bool) {
        self.shared.held[direction as usize].store(held, Ordering::Relaxed);
    }

    /// Leaves every connection there is without a word for ever, open at both ends; new ones are served. This is how a
    /// machine looks that has vanished, or a firewall that has forgotten.
    pub fn strand(&self) {
        self.strand_one_way(Direction::Up);
        self.strand_one_way(Direction::Down);
    }

    /// The same in one direction only: the other still works.
    pub fn strand_one_way(&self, direction: Direction) {
        for link in self.shared.links().iter() {
            link.stranded[direction as usize].store(true, Ordering::Relaxed);
        }
    }

    /// [`Proxy::strand`] for one connection alone, by the address at which the server sees it.
    ///
    /// # Panics
    /// When there is none from there.
    pub fn strand_only(&self, client: SocketAddr) {
        let links = self.shared.links();
        let mut links = links.iter();
        let link = links.find(|link| link.sockets[1].local_addr().is_ok_and(|own| own == client));
        let link = link.expect("that connection goes through here");
        for way in &link.stranded {
            way.store(true, Ordering::Relaxed);
        }
    }

    /// Closes every connection at the client's end, and holds back what it had sent until [`Proxy::deliver_late`]: the server
    /// then hears it after, and beside, what the client says on a new connection.
    pub fn hang_up(&self) {
        self.strand();
        for link in self.shared.links().iter() {
            let _ = link.sockets[0].shutdown(Shutdown::Both);
        }
    }

    /// Lets what [`Proxy::hang_up`] held back flow to the server; what that answers reaches nobody.
    pub fn deliver_late(&self) {
        for link in self.shared.links().iter() {
            link.stranded[Direction::Up as usize].store(false, Ordering::Relaxed);
        }
    }

    /// Closes new connections at once (`true`), or serves them again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::Relaxed);
    }

    /// Hands on every piece this much later.
    pub fn delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.shared.delay_micros.store(micros, Ordering::Relaxed);
    }

    /// Ends every trouble but what it has done already.
    pub fn heal(&self) {
        self.pause(false);
        self.refuse(false);
        self.delay(Duration::ZERO);
        self.shared.allowance.store(-1, Ordering::Relaxed);
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
    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.target)?;
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
        }
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(server.local_addr()?);
        let ends = [
            (Direction::Up, client.try_clone()?, server.try_clone()?),
            (Direction::Down, server.try_clone()?, client.try_clone()?),
        ];
        let link = Arc::new(Link {
            sockets: [client, server],
            over: AtomicBool::new(false),
            stranded: [AtomicBool::new(false), AtomicBool::new(false)],
        });
        let mut links = self.links();
        links.retain(|link| !link.over.load(Ordering::Relaxed));
        links.push(Arc::clone(&link));
        for (direction, from, to) in ends {
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            std::thread::spawn(move || shared.pump(&link, direction, from, to));
        }
        Ok(())
    }

    fn pump(&self, link: &Link, direction: Direction, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        // The end of one side is held back like everything else.
        while let Ok(count) = from.read(&mut buffer) {
            let delay = self.delay_micros.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(delay));
            while self.holds(link, direction) {
                std::thread::sleep(LOOK);
            }
            if count == 0 || link.over.load(Ordering::Relaxed) {
                break;
            }
            let passes = match direction {
                Direction::Up => self.allowed(count),
                Direction::Down => count,
            };
            if to.write_all(&buffer[..passes]).is_err() {
                break;
            }
            if passes < count {
                self.cut();
                break;
            }
        }
        link.end();
    }

    fn holds(&self, link: &Link, direction: Direction) -> bool {
        let held = self.held[direction as usize].load(Ordering::Relaxed);
        let going = !self.closed.load(Ordering::Relaxed) && !link.over.load(Ordering::Relaxed);
        going && (held || link.stranded[direction as usize].load(Ordering::Relaxed))
    }

    /// How many of these bytes may go up.
    fn allowed(&self, count: usize) -> usize {
        let take = |left: i64| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            // Used up: the next piece is free again.
            (left >= 0).then(|| if left < count { -1 } else { left - count })
        };
        let before = self
            .allowance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let left = before.ok().and_then(|left| usize::try_from(left).ok());
        left.map_or(count, |left| left.min(count))
    }

    fn cut(&self) {
        for link in self.links().drain(..) {
            link.end();
        }
    }
}

impl Link {
    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            // Fails when the peer was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Redis;
    use crate::resp::{Connection, Value};

    fn open(proxy: &Proxy) -> Connection {
        Connection::open(proxy.address()).expect("it listens")
    }

    #[test]
    fn it_passes_cuts_and_names_its_connections() {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let mut through = open(&proxy);
        let info = through.command(&["CLIENT", "INFO"]).unwrap();
        let seen = proxy.clients();
        let address = seen.first().unwrap().to_string();
        assert!(format!("{info:?}").contains(&address), "{info:?} {address}");
        proxy.cut();
        assert!(through.command(&["PING"]).is_err());
        assert!(open(&proxy).command(&["PING"]).is_ok());
    }

    #[test]
    fn one_direction_is_held_back_and_nothing_is_lost() {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        for (direction, done) in [(Direction::Up, false), (Direction::Down, true)] {
            let mut through = open(&proxy);
            through.command(&["DEL", "key"]).unwrap();
            proxy.hold(direction, true);
            let waiting = std::thread::spawn(move || through.command(&["SET", "key", "1"]));
            std::thread::sleep(Duration::from_millis(300));
            let there = redis.cli(&["EXISTS", "key"]).number() == 1;
            assert_eq!(there, done, "{direction:?}");
            assert!(!waiting.is_finished(), "{direction:?}");
            proxy.hold(direction, false);
            let answer = waiting.join().unwrap().unwrap();
            assert_eq!(answer, Value::Text("OK".to_owned()));
        }
    }

    #[test]
    fn a_message_is_cut_in_its_middle() {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let mut through = open(&proxy);
        proxy.cut_after(20);
        assert!(through.command(&["SET", "key", "a value"]).is_err());
        assert_eq!(redis.cli(&["EXISTS", "key"]).number(), 0);
        assert!(open(&proxy).command(&["SET", "key", "a value"]).is_ok());
    }

    #[test]
    fn a_stranded_connection_says_nothing_and_the_next_is_served() {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let mut through = open(&proxy);
        through.command(&["PING"]).unwrap();
        proxy.strand();
        let waiting = std::thread::spawn(move || through.command(&["PING"]));
        assert!(open(&proxy).command(&["PING"]).is_ok());
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        proxy.cut();
        assert!(waiting.join().unwrap().is_err());
    }

    #[test]
    fn what_a_client_said_before_it_hung_up_comes_after_what_it_says_next() {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        let mut first = open(&proxy);
        first.command(&["PING"]).unwrap();
        proxy.hold(Direction::Up, true);
        let early = std::thread::spawn(move || first.command(&["SET", "key", "said first"]));
        std::thread::sleep(Duration::from_millis(100));
        proxy.hang_up();
        assert!(early.join().unwrap().is_err());
        proxy.hold(Direction::Up, false);
        open(&proxy).command(&["SET", "key", "said next"]).unwrap();
        proxy.deliver_late();
        crate::wait::eventually_blocking("it comes late", Duration::from_secs(5), || {
            let value = redis.cli(&["GET", "key"]);
            if value == Value::Text("said first".to_owned()) {
                Ok(())
            } else {
                Err(format!("{value:?}"))
            }
        });
    }

    #[test]
    fn refused_connections_end_at_once() {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.address());
        proxy.refuse(true);
        let refused = Connection::open(proxy.address()).and_then(|mut one| one.command(&["PING"]));
        assert!(refused.is_err());
        proxy.heal();
        assert!(open(&proxy).command(&["PING"]).is_ok());
    }
}
