//! Keeps an operator that has stood still for longer than its Lease is good from going on with what it was about to write: another
//! leads by then. Every write of the API server's client passes here, just before it goes out.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::BoxError;
use tower::filter::{FilterLayer, Predicate};

/// The Lease has not been renewed for too long to write anything.
#[derive(Debug, thiserror::Error)]
#[error("the Lease was not renewed in time: nothing is written any more")]
struct Late;

/// When the Lease was renewed last, as those who write see it.
#[derive(Debug, Clone)]
pub struct Fence {
    renewed: Arc<Mutex<Option<Instant>>>,
    /// How long after that something may be written.
    good_for: Duration,
}

impl Fence {
    /// One that lets nothing through before the Lease is held.
    pub fn new(good_for: Duration) -> Self {
        Self {
            renewed: Arc::default(),
            good_for,
        }
    }

    /// Says that the Lease was renewed by a request that was begun at `at`.
    pub fn renewed(&self, at: Instant) {
        *self.renewed.lock() = Some(at);
    }

    /// What a client is given.
    pub fn layer(&self) -> FilterLayer<Self> {
        FilterLayer::new(self.clone())
    }

    fn is_open(&self) -> bool {
        let renewed = *self.renewed.lock();
        renewed.is_some_and(|at| at.elapsed() < self.good_for)
    }
}

impl Predicate<Request<Body>> for Fence {
    type Request = Request<Body>;

    fn check(&mut self, request: Request<Body>) -> Result<Request<Body>, BoxError> {
        if request.method() == Method::GET || self.is_open() {
            Ok(request)
        } else {
            Err(Box::new(Late))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method) -> Request<Body> {
        let request = Request::builder().method(method).uri("/");
        request.body(Body::empty()).expect("a valid request")
    }

    #[test]
    fn writes_pass_while_the_lease_is_good_and_reads_always() {
        let mut fence = Fence::new(Duration::from_secs(10));
        let passes = |fence: &mut Fence, method: Method| fence.check(request(method)).is_ok();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        assert!(!passes(&mut fence, Method::PATCH), "it is not held yet");
        assert!(passes(&mut fence, Method::GET));
        fence.renewed(ago(5).expect("this machine runs for longer"));
        assert!(passes(&mut fence, Method::PATCH));
        fence.renewed(ago(11).expect("this machine runs for longer"));
        let refused = fence.check(request(Method::POST)).expect_err("it is late");
        assert_eq!(refused.to_string(), Late.to_string());
        assert!(passes(&mut fence, Method::GET));
        fence.renewed(Instant::now());
        assert!(passes(&mut fence, Method::PUT), "it is held again");
    }
}
