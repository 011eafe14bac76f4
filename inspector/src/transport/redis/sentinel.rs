//! Finds the master behind Sentinels: they are asked anew for every connection, as redis-py does, and what they name is
//! believed when it says itself that it is a master.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::super::{Patience, TransportError};
use super::link::{Link, dial};
use super::tap::Messages;
use crate::wire::topology::SentinelOptions;
use crate::wire::url::{Address, BrokerUrl, Protocol, Server};

/// redis-py asks for all masters of a Sentinel, so that is what a user of it is allowed to.
const MASTERS: &str = "SENTINEL MASTERS";

/// Names of other masters that an error shows.
const NAMES_SHOWN: usize = 8;

/// The Sentinels of a broker URL.
pub(super) struct Sentinels {
    all: Vec<Arc<Server>>,
    endpoint: String,
    /// A master, but for its address.
    master: Server,
    master_name: String,
    others_min: u64,
    /// The one that answered last.
    current: AtomicUsize,
    /// The master that was connected to last.
    found: Mutex<Option<Address>>,
}

/// Why there is no connection to a master: the later says more.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Failed {
    Sentinel,
    Answer,
    Master,
}

/// What one Sentinel says of one master.
type Fields = HashMap<String, String>;

impl Sentinels {
    /// Those of `url`; `None` without the name of a master.
    pub(super) fn of(url: &BrokerUrl, options: &SentinelOptions) -> Option<Self> {
        let sentinel = |server: &Server| {
            Arc::new(Server {
                username: options.username.clone(),
                password: options.password.clone(),
                tls: options.tls.clone(),
                ..server.clone()
            })
        };
        Some(Self {
            all: url.servers().iter().map(sentinel).collect(),
            endpoint: url.endpoint(),
            master: Server {
                protocol: Protocol::Redis,
                ..url.first().clone()
            },
            master_name: options.master_name.clone()?,
            others_min: options.min_other_sentinels,
            current: AtomicUsize::new(0),
            found: Mutex::new(None),
        })
    }

    /// All of them, without secrets.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Connects to the master that a Sentinel names.
    ///
    /// # Errors
    /// That which says most: of a master before that of a Sentinel.
    pub(super) async fn dial(
        &self,
        patience: Patience,
        messages: Option<Arc<Messages>>,
    ) -> Result<Link, TransportError> {
        let mut failure: Option<(Failed, TransportError)> = None;
        let mut tried = Vec::new();
        for index in self.in_turn() {
            let (failed, error) = match self.ask(&self.all[index], patience).await {
                // Several Sentinels name the same; one attempt is enough.
                Ok(address) if tried.contains(&address) => continue,
                Ok(address) => match self.connect(&address, patience, messages.clone()).await {
                    Ok(link) => {
                        self.current.store(index, Ordering::Relaxed);
                        *self.found.lock() = Some(address);
                        return Ok(link);
                    }
                    Err(error) => {
                        tried.push(address);
                        (Failed::Master, error)
                    }
                },
                Err(failure) => failure,
            };
            if failure.as_ref().is_none_or(|(before, _)| *before < failed) {
                failure = Some((failed, error));
            }
        }
        Err(failure.expect("a broker URL has at least one server").1)
    }

    /// Why `link` must be left though it works: another server is the master now. Costs a question to one Sentinel. When
    /// they do not answer, or name one that is no master, the link stays.
    pub(super) async fn moved(&self, link: &Link, patience: Patience) -> Option<TransportError> {
        if self.is_left(link) {
            return Some(self.moved_from(link));
        }
        for index in self.in_turn() {
            let Ok(address) = self.ask(&self.all[index], patience).await else {
                continue;
            };
            if address == link.server().address {
                return None;
            }
            // A Sentinel may be the last to hear of a failover.
            if self.connect(&address, patience, None).await.is_ok() {
                *self.found.lock() = Some(address);
                return Some(self.moved_from(link));
            }
        }
        None
    }

    /// Whether another connection has found another master since.
    pub(super) fn is_left(&self, link: &Link) -> bool {
        let found = self.found.lock();
        found
            .as_ref()
            .is_some_and(|address| *address != link.server().address)
    }

    fn moved_from(&self, link: &Link) -> TransportError {
        TransportError::Unreachable {
            endpoint: link.server().endpoint(),
            reason: format!("the Sentinels have made another the master {}", self.name()),
        }
    }

    /// Indexes of all, beginning with the one that answered last.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (start, count) = (self.current.load(Ordering::Relaxed), self.all.len());
        (0..count).map(move |step| (start + step) % count)
    }

    /// Connects to a server and makes sure that it is a master: during a failover a Sentinel may name one that no longer is.
    async fn connect(
        &self,
        address: &Address,
        patience: Patience,
        messages: Option<Arc<Messages>>,
    ) -> Result<Link, TransportError> {
        let server = Server {
            address: address.clone(),
            ..self.master.clone()
        };
        let link = dial(Arc::new(server), messages, patience).await?;
        let hello = link.speaker().hello().await?;
        if hello.get("role").is_some_and(|role| role != "master") {
            return Err(TransportError::Unable {
                endpoint: link.server().endpoint(),
                action: "a master's work",
                reason: format!(
                    "it is a replica, though a Sentinel still names it as the master {}",
                    self.name()
                ),
            });
        }
        Ok(link)
    }

    /// Where one Sentinel says that the master is.
    async fn ask(
        &self,
        sentinel: &Arc<Server>,
        patience: Patience,
    ) -> Result<Address, (Failed, TransportError)> {
        let masters = masters(sentinel, patience).await;
        let masters = masters.map_err(|error| (Failed::Sentinel, error))?;
        self.judge(&masters).map_err(|reason| {
            let endpoint = sentinel.endpoint();
            let action = MASTERS;
            let error = TransportError::Unable {
                endpoint,
                action,
                reason,
            };
            (Failed::Answer, error)
        })
    }

    /// As redis-py's `check_master_state`.
    fn judge(&self, masters: &[Fields]) -> Result<Address, String> {
        let field = |master: &Fields, name: &str| master.get(name).cloned().unwrap_or_default();
        let mut names = masters.iter().map(|master| field(master, "name"));
        let Some(index) = names.position(|name| name == self.master_name) else {
            let names = masters.iter().map(|master| field(master, "name"));
            let known: Vec<String> = names.take(NAMES_SHOWN).collect();
            return Err(format!(
                "it watches no master {}, only {}; check the transport option master_name",
                self.name(),
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            ));
        };
        let master = &masters[index];
        let flags = field(master, "flags");
        let down = |flag: &str| flags.split(',').any(|one| one == flag);
        if !down("master") || down("s_down") || down("o_down") {
            return Err(format!("the master {} is down ({flags})", self.name()));
        }
        let others = field(master, "num-other-sentinels");
        if others.parse::<u64>().unwrap_or_default() < self.others_min {
            return Err(format!(
                "it knows {others} other Sentinels, fewer than min_other_sentinels"
            ));
        }
        match field(master, "port").parse() {
            Ok(port) if !field(master, "ip").is_empty() => Ok(Address::Tcp {
                host: field(master, "ip"),
                port,
            }),
            _ => Err(format!("it gives no address of the master {}", self.name())),
        }
    }

    fn name(&self) -> String {
        format!("{:?}", self.master_name)
    }
}

async fn masters(
    sentinel: &Arc<Server>,
    patience: Patience,
) -> Result<Vec<Fields>, TransportError> {
    let link = dial(Arc::clone(sentinel), None, patience).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("MASTERS");
    let answer = link.speaker().ask(MASTERS, &command).await;
    answer.map_err(|error| match error {
        TransportError::Answer {
            endpoint,
            action,
            reason,
        } if reason.contains("unknown command") => TransportError::Answer {
            endpoint,
            action,
            reason: "it is no Sentinel; the URL of a server itself begins with redis://".to_owned(),
        },
        other => other,
    })
}

#[cfg(test)]
mod tests;
