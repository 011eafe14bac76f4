//! Takes our finalizers off every object: once the operator is gone nobody answers them, and an object that is deleted later
//! would wait for ever. The operator is stopped and its Lease taken before, since it would set them again. What was done
//! already is not done twice, so it can be repeated after whatever ended it.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::apply::BUILD_MANAGER;
use crate::args::UninstallArgs;
use crate::controllers::App;
use crate::controllers::run::{Scope, api};
use crate::crd::{Celery, CeleryBroker, CeleryScheduler, CeleryWorker};
use crate::error::{Deed, Error};
use crate::lease::Candidate;
use crate::run::{RunError, connect, identity};

/// What the names of our finalizers begin with.
const OURS: &str = "celeriac.dev/";

/// Objects listed at a time, as kubectl does.
const PAGE: u32 = 500;

/// Between two looks: an object that changed meanwhile is taken up in the next.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be taken away, and who is to be stopped first.
#[derive(Debug, Clone)]
pub struct Uninstall {
    scope: Scope,
    lease: String,
    lease_namespace: Option<String>,
    deployment: Option<String>,
    within: Duration,
}

/// Why finalizers may be left.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// No way to the API server.
    #[error("finalizers were left as they are")]
    Connect(#[source] RunError),
    /// An operator acts.
    #[error(
        "another operator holds the Lease {name}: stop it first (kubectl scale deployment NAME --replicas=0, or \
         --stop-deployment NAME), or it sets finalizers again"
    )]
    OperatorActs {
        /// Name of the Lease.
        name: String,
    },
    /// Somebody else became the operator meanwhile.
    #[error("the Lease {name} was lost: another operator acts, and sets finalizers again")]
    LeaseLost {
        /// Name of the Lease.
        name: String,
    },
    /// The API server refused.
    #[error(transparent)]
    Refused(#[from] Error),
    /// It took too long.
    #[error(
        "objects still had finalizers after {} s (--timeout); what was done stays done, run it again",
        within.as_secs()
    )]
    Late {
        /// How long it was tried.
        within: Duration,
    },
    /// A signal came.
    #[error("stopped before every finalizer was gone; run it again")]
    Stopped,
}

impl From<UninstallArgs> for Uninstall {
    fn from(args: UninstallArgs) -> Self {
        Self {
            scope: Scope::of(args.namespace),
            lease: args.lease,
            lease_namespace: args.lease_namespace,
            deployment: args.stop_deployment,
            within: Duration::from_secs(args.timeout),
        }
    }
}

impl Uninstall {
    /// Does it, until nothing of ours is left or its time is over.
    ///
    /// # Errors
    /// When something may be left.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), UninstallError> {
        let connected = connect(self.lease_namespace.clone()).await;
        let (client, namespace) = connected.map_err(UninstallError::Connect)?;
        if let Some(name) = &self.deployment {
            stop_deployment(&client, &namespace, name).await?;
        }
        let candidate = Candidate::new(client.clone(), &namespace, &self.lease, identity());
        let name = || self.lease.clone();
        match timeout(self.within, candidate.acquire(&stop)).await {
            Ok(true) => {}
            Ok(false) => return Err(UninstallError::Stopped),
            Err(_elapsed) => return Err(UninstallError::OperatorActs { name: name() }),
        }
        let ended = CancellationToken::new();
        let work = async {
            let outcome = tokio::select! {
                () = stop.cancelled() => Err(UninstallError::Stopped),
                outcome = timeout(self.within, self.free_all(&client)) => {
                    outcome.unwrap_or(Err(UninstallError::Late { within: self.within }))
                }
            };
            ended.cancel();
            outcome
        };
        let holding = candidate.hold(&ended);
        tokio::pin!(work, holding);
        tokio::select! {
            outcome = &mut work => {
                holding.await;
                outcome
            }
            // It ends by itself only when it is lost.
            _lost = &mut holding => Err(UninstallError::LeaseLost { name: name() }),
        }
    }

    /// Looks again until a look finds nothing of ours.
    async fn free_all(&self, client: &Client) -> Result<(), UninstallError> {
        loop {
            let mut found = 0;
            for place in self.scope.places() {
                found += free::<Celery>(client, place).await?;
                found += free::<CeleryWorker>(client, place).await?;
                found += free::<CeleryScheduler>(client, place).await?;
                found += free::<CeleryBroker>(client, place).await?;
            }
            if found == 0 {
                tracing::info!("no object has a finalizer of ours");
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }
}

/// Sets a Deployment to no replicas, if it is there.
async fn stop_deployment(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    match deployments.patch(name, &params(), &patch).await {
        Ok(_) => {
            tracing::info!(namespace, name, "stopped");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => {
            let deed = Deed {
                verb: "stop",
                kind: "Deployment",
                name: name.to_owned(),
            };
            Err(Error::of(deed, error))
        }
    }
}

/// Takes our finalizers off the objects of a kind; how many had one.
async fn free<K>(client: &Client, place: Option<&str>) -> Result<u64, Error>
where
    K: App + Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let mut found = 0;
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = match api::<K>(client, place).list_metadata(&page).await {
            Ok(listed) => listed,
            // The kind itself is gone, and all its objects with it.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(0),
            Err(error) => {
                let deed = Deed {
                    verb: "list",
                    kind: K::KIND,
                    name: place.unwrap_or("everywhere").to_owned(),
                };
                return Err(Error::of(deed, error));
            }
        };
        for object in &listed.items {
            let has_one = object.finalizers().iter().any(|one| one.starts_with(OURS));
            if has_one {
                found += 1;
                free_one(client, object).await?;
            }
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

async fn free_one<K: App>(client: &Client, object: &PartialObjectMeta<K>) -> Result<(), Error> {
    let others: Vec<&String> = object
        .finalizers()
        .iter()
        .filter(|one| !one.starts_with(OURS))
        .collect();
    let patch = json!({"metadata": {
        "finalizers": others, "resourceVersion": object.resource_version(),
    }});
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let patched = api::<K>(client, Some(&namespace))
        .patch_metadata(&name, &params(), &Patch::Merge(&patch))
        .await;
    match patched {
        Ok(_) => {
            tracing::info!(kind = K::KIND, namespace, name, "its finalizers are gone");
            Ok(())
        }
        // It went, or somebody changed it meanwhile: the next look tells.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => {
            let deed = Deed {
                verb: "change the finalizers of",
                kind: K::KIND,
                name,
            };
            Err(Error::of(deed, error))
        }
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(BUILD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
