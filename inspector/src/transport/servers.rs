//! The servers of a broker URL, in turn.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::TransportError;
use crate::wire::url::{BrokerUrl, Server};

/// The servers of a broker URL, and which of them answered last: kombu's round robin goes on from there.
pub(super) struct Servers {
    all: Vec<Arc<Server>>,
    endpoint: String,
    current: AtomicUsize,
}

impl Servers {
    pub(super) fn of(url: &BrokerUrl) -> Self {
        Self {
            all: url.servers().iter().cloned().map(Arc::new).collect(),
            endpoint: url.endpoint(),
            current: AtomicUsize::new(0),
        }
    }

    /// All of them, without secrets.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What `dial` gives of the server that answered last, else of the next that answers.
    ///
    /// # Errors
    /// That of the server that was tried first.
    pub(super) async fn dial<T, F>(
        &self,
        dial: impl Fn(Arc<Server>) -> F,
    ) -> Result<T, TransportError>
    where
        F: Future<Output = Result<T, TransportError>>,
    {
        let start = self.current.load(Ordering::Relaxed);
        let mut first_error = None;
        for step in 0..self.all.len() {
            let index = (start + step) % self.all.len();
            match dial(Arc::clone(&self.all[index])).await {
                Ok(connected) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(connected);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.expect("a broker URL has at least one server"))
    }
}
