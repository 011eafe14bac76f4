//! One pool: its facts are read, a step is made of them, and done; what it says goes into the condition `Draining`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use celeriac_process::error_chain;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use tokio::time::Instant;

use super::asks::Asks;
use crate::build::worker::pod_selector;
use crate::controllers::{App as _, Context, PAUSED};
use crate::crd::{Celery, CeleryWorker, Condition, ScalingMode};
use crate::drain::facts::{self as facts, Facts, Workers};
use crate::drain::marks::{COST_DRAINED, DELETION_COST, DRAIN, UNDONE};
use crate::drain::{DRAINING, Memory, at_rest, look, pod, step};
use crate::error::{self, Error};
use crate::fetch;
use crate::report::{Fact, report_drain};

/// After a step that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// After a step in whose course something was changed by somebody else.
const AFTER_CONFLICT: Duration = Duration::from_millis(300);

/// A condition whose words only have changed is written once in this time.
const WORDS: Duration = Duration::from_secs(30);

/// What is remembered of a pool.
#[derive(Default)]
pub(super) struct Pool {
    /// When its next step is, unless something changes before.
    pub(super) again: Option<Duration>,
    pub(super) memory: Memory,
    /// What its condition says, and when that was written.
    said: Option<(Fact, Option<Instant>)>,
    /// Why the last step failed.
    failure: Option<String>,
    /// While nothing is under way, when it is looked next whether its workers consume what they should.
    look: Option<Instant>,
}

/// A pool's objects, as the watches have them.
pub(super) struct Objects {
    pub(super) worker: Arc<CeleryWorker>,
    pub(super) app: Option<Arc<Celery>>,
    pub(super) deployment: Arc<Deployment>,
    pub(super) pods: Vec<Arc<Pod>>,
}

/// What tells that something of a pool has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Objects {
    /// A fingerprint: of what is asked for, and of whatever happens to the Deployment and the pods.
    pub(super) fn seen(&self) -> Seen {
        let mut hasher = DefaultHasher::new();
        self.worker.metadata.generation.hash(&mut hasher);
        self.worker.metadata.annotations.hash(&mut hasher);
        let app = self.app.as_ref().map(|app| app.metadata.generation);
        app.hash(&mut hasher);
        self.deployment.metadata.resource_version.hash(&mut hasher);
        let pods = self.pods.iter();
        let pods: BTreeMap<_, _> = pods
            .map(|pod| (&pod.metadata.uid, &pod.metadata.resource_version))
            .collect();
        pods.hash(&mut hasher);
        Seen(hasher.finish())
    }
}

impl Pool {
    /// A pool of which nothing is known but what its status says.
    pub(super) fn of(worker: &CeleryWorker) -> Self {
        let said = |one: &Condition| Fact::new(DRAINING, one.status, &one.reason, &*one.message);
        let conditions = worker.conditions().iter();
        let mut found = conditions.filter(|one| one.type_ == DRAINING).map(said);
        Self {
            said: found.next().map(|fact| (fact, None)),
            ..Self::default()
        }
    }

    /// One step; when the next one is stands in `again`.
    pub(super) async fn step(&mut self, context: &Context, asks: &Asks, found: &Objects) {
        let metadata = &found.worker.metadata;
        let annotations = found.worker.annotations();
        let paused = annotations.get(PAUSED).is_some_and(|value| value == "true");
        self.again = None;
        if paused || metadata.deletion_timestamp.is_some() {
            return;
        }
        let failure = match self.try_step(context, asks, found).await {
            Ok(()) => None,
            Err(error) => {
                let conflict = matches!(error, Error::Conflict { .. });
                self.again = Some(if conflict {
                    AFTER_CONFLICT
                } else {
                    AFTER_FAILURE
                });
                (!conflict).then(|| error_chain(&error))
            }
        };
        if let Some(words) = &failure
            && self.failure != failure
        {
            let (namespace, name) = (found.worker.namespace(), found.worker.name_any());
            tracing::warn!(namespace, name, error = words, "a step of a pool failed");
        }
        self.failure = failure;
    }

    async fn try_step(
        &mut self,
        context: &Context,
        asks: &Asks,
        found: &Objects,
    ) -> Result<(), Error> {
        let never = never(asks, found);
        if self.rests(found) {
            let fact = at_rest(never.as_deref());
            let said = self.say(context, &found.worker, fact).await;
            if never.is_none() {
                self.look(context, asks, found).await?;
            }
            return said;
        }
        let Some((facts, deployment)) = read(context, asks, found, never).await? else {
            // It is being made.
            return Ok(());
        };
        let step = step(&facts, &mut self.memory);
        self.again = step.again;
        let said = match step.says {
            Some(fact) => self.say(context, &found.worker, fact).await,
            None => Ok(()),
        };
        // What cannot be said is done all the same.
        self.act(context, asks, &found.worker, &deployment, step.deeds)
            .await?;
        said
    }

    /// Looks whether its workers consume what they should. By the watches: what a worker is told, it was meant to do for so
    /// long that they are not behind.
    async fn look(&mut self, context: &Context, asks: &Asks, found: &Objects) -> Result<(), Error> {
        let now = Instant::now();
        if let Some(left) = self.look.and_then(|look| look.checked_duration_since(now)) {
            self.again = Some(left);
            return Ok(());
        }
        let deployment = facts::Deployment::read(&found.deployment);
        if deployment.queues.is_empty() || found.pods.is_empty() {
            return Ok(());
        }
        let workers = asked(asks, &found.worker).await;
        let pods = found.pods.iter().map(|pod| pod::Pod::read(pod)).collect();
        let facts = facts_of(&found.worker, deployment, pods, workers);
        let step = look(&facts, &mut self.memory);
        self.again = step.again;
        self.look = step.again.map(|again| now + again);
        self.act(context, asks, &found.worker, &found.deployment, step.deeds)
            .await
    }

    /// Whether nothing is under way, by the watches alone.
    fn rests(&self, found: &Objects) -> bool {
        let asked = found
            .deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas);
        let marked = |pod: &Arc<Pod>| {
            let annotations = pod.annotations();
            let cost = annotations.get(DELETION_COST);
            annotations.contains_key(DRAIN)
                || annotations.contains_key(UNDONE)
                || cost.is_some_and(|cost| *cost == COST_DRAINED.to_string())
        };
        asked == Some(found.worker.spec.options.replicas)
            && !self.memory.is_busy()
            && !found.pods.iter().any(marked)
    }

    /// Says it, if it was not said already.
    async fn say(
        &mut self,
        context: &Context,
        worker: &CeleryWorker,
        fact: Fact,
    ) -> Result<(), Error> {
        if let Some((said, when)) = &self.said {
            let same = said.truth == fact.truth && said.reason == fact.reason;
            let lately = when.is_some_and(|when| when.elapsed() < WORDS);
            if *said == fact || (same && lately) {
                return Ok(());
            }
        }
        let namespace = worker.namespace().unwrap_or_default();
        let api: Api<CeleryWorker> = Api::namespaced(context.client.clone(), &namespace);
        report_drain(&api, worker, &fact, super::now()).await?;
        self.said = Some((fact, Some(Instant::now())));
        Ok(())
    }
}

/// Why workers of a pool can never be asked, if it is so.
fn never(asks: &Asks, found: &Objects) -> Option<String> {
    let Some(name) = found.worker.app() else {
        return Some("spec.celeryRef names no Celery, so nobody can ask its workers".to_owned());
    };
    if !asks.are_there() {
        return Some("the operator was started without --aggregator".to_owned());
    }
    match &found.app {
        None => Some(format!("there is no Celery {name} in this namespace")),
        Some(app) if !app.spec.inspector.enabled => {
            Some(format!("inspector.enabled of Celery {name} is false"))
        }
        Some(_) => None,
    }
}

/// A pool as it is now. Of pods and Deployment the API server's own word counts: a watch may be behind.
async fn read(
    context: &Context,
    asks: &Asks,
    found: &Objects,
    never: Option<String>,
) -> Result<Option<(Facts, Deployment)>, Error> {
    let namespace = found.worker.namespace().unwrap_or_default();
    let name = found.worker.name_any();
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), &namespace);
    let deployment = deployments.get_opt(&name).await;
    let deployment = deployment.map_err(|error| failed("read", "Deployment", &name, error))?;
    let Some(deployment) = deployment.filter(|it| it.metadata.uid == found.deployment.metadata.uid)
    else {
        return Ok(None);
    };
    let pods = fetch::pods(&context.client, &namespace, &pod_selector(&name)).await?;
    let pods: Vec<pod::Pod> = pods.iter().map(pod::Pod::read).collect();
    let target = u32::try_from(found.worker.spec.options.replicas).unwrap_or(0);
    let deployment_now = facts::Deployment::read(&deployment);
    // Those that are only to be more are not waited for.
    let concerned = target < deployment_now.replicas
        || pods
            .iter()
            .any(|pod| pod.mark.is_there() || pod.undone.is_there());
    let workers = match never {
        Some(words) => Workers::Never(words),
        None if !concerned => Workers::Known(BTreeMap::new()),
        None => asked(asks, &found.worker).await,
    };
    let facts = facts_of(&found.worker, deployment_now, pods, workers);
    Ok(Some((facts, deployment)))
}

/// What the aggregator knows of the workers of a pool.
async fn asked(asks: &Asks, worker: &CeleryWorker) -> Workers {
    let (namespace, name) = (worker.namespace().unwrap_or_default(), worker.name_any());
    let app = format!("{namespace}/{}", worker.app().unwrap_or_default());
    let queues = &worker.spec.options.target_queues;
    asks.workers(&app, &name, queues).await
}

fn facts_of(
    worker: &CeleryWorker,
    deployment: facts::Deployment,
    pods: Vec<pod::Pod>,
    workers: Workers,
) -> Facts {
    let options = &worker.spec.options;
    let scaling = &options.scaling;
    let timeout = scaling.drain_timeout_seconds;
    let timeout = timeout.and_then(|seconds| u64::try_from(seconds).ok());
    Facts {
        now: super::now(),
        target: u32::try_from(options.replicas).unwrap_or(0),
        timeout: timeout.map(Duration::from_secs),
        // Where the operator decides, it goes by what it knows of workers.
        unasked_go: scaling.mode != ScalingMode::Native,
        deployment,
        pods,
        workers,
    }
}

/// What failed.
pub(super) fn failed(
    verb: &'static str,
    kind: &'static str,
    name: &str,
    source: kube::Error,
) -> Error {
    let deed = error::Deed {
        verb,
        kind,
        name: name.to_owned(),
    };
    Error::of(deed, source)
}
