//! Who of several operators acts: the holder of a Lease. Clocks of different machines are never compared: a Lease is over
//! when its holder has not changed it for its whole duration, by our own clock. A holder that cannot renew stops to act
//! before anybody else may begin.

use std::time::Duration;

use celeriac_process::error_chain;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fence::Fence;

/// How long a Lease is good without being renewed.
const DURATION: Duration = Duration::from_secs(15);

/// How often it is renewed, or looked at by who waits for it.
const PERIOD: Duration = Duration::from_secs(3);

/// After so long without a renewal its holder stops: 5 s before another may take it.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(4);

/// One candidate for a Lease.
#[derive(Clone)]
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    fence: Fence,
}

/// What a candidate last saw of a Lease that is another's, and when that last changed.
type Seen = Option<(Option<MicroTime>, Option<String>, Instant)>;

impl Candidate {
    /// A candidate called `identity`, which no other may be called.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            fence: Fence::new(RENEW_DEADLINE),
        }
    }

    /// What keeps a client from writing when the Lease is not held.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Waits until this candidate holds the Lease. `false`: it was stopped first.
    pub async fn acquire(&self, stop: &CancellationToken) -> bool {
        let mut seen: Seen = None;
        loop {
            let begun = Instant::now();
            match self.attempt(&mut seen).await {
                Ok(true) => {
                    self.fence.renewed(begun);
                    return true;
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = error_chain(&error), "no Lease yet");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = sleep(PERIOD) => {}
            }
        }
    }

    /// Renews the Lease until `stop`, then gives it up. `false`: it was lost, and nothing may be written any more.
    pub async fn hold(&self, stop: &CancellationToken) -> bool {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.release().await;
                    return true;
                }
                () = sleep(PERIOD) => {}
            }
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let begun = Instant::now();
            match timeout(REQUEST.min(left), self.attempt(&mut None)).await {
                Ok(Ok(true)) => {
                    renewed = begun;
                    self.fence.renewed(begun);
                }
                Ok(Ok(false)) => {
                    tracing::error!("another operator holds the Lease");
                    return false;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = error_chain(&error), "the Lease was not renewed");
                }
                Err(_elapsed) => tracing::warn!("the Lease was not renewed in time"),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                tracing::error!("the Lease could not be renewed for {RENEW_DEADLINE:?}");
                return false;
            }
        }
    }

    /// Takes or renews the Lease, if it may be had.
    async fn attempt(&self, seen: &mut Seen) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.held(0, None)),
            };
            let made = self.leases.create(&PostParams::default(), &lease).await;
            return taken(made.map(drop));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec
            .holder_identity
            .clone()
            .filter(|holder| !holder.is_empty());
        let mine = holder.as_ref() == Some(&self.identity);
        if !mine && holder.is_some() {
            let now = Instant::now();
            let unchanged = seen
                .as_ref()
                .filter(|(renewed, by, _)| *renewed == spec.renew_time && *by == holder);
            let Some((.., since)) = unchanged else {
                *seen = Some((spec.renew_time, holder, now));
                return Ok(false);
            };
            if now.duration_since(*since) < DURATION {
                return Ok(false);
            }
        }
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(!mine);
        let since = spec.acquire_time.filter(|_| mine);
        let renewed = Lease {
            // With the version that was read: of two who try at once, one is refused.
            metadata: lease.metadata,
            spec: Some(self.held(transitions, since)),
        };
        let params = PostParams::default();
        taken(
            self.leases
                .replace(&self.name, &params, &renewed)
                .await
                .map(drop),
        )
    }

    async fn release(&self) {
        let Ok(Ok(mut lease)) = timeout(REQUEST, self.leases.get(&self.name)).await else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return;
        }
        spec.holder_identity = Some(String::new());
        let params = PostParams::default();
        // Without it the next one waits for the end of the Lease.
        let _ = timeout(REQUEST, self.leases.replace(&self.name, &params, &lease)).await;
    }

    fn held(&self, transitions: i32, since: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(since.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn taken(written: Result<(), kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
