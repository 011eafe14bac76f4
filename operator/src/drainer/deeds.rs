//! Does what a step says: writes to the API server in their order, then commands to workers, several at a time.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::timeout;

use super::asks::Asks;
use super::pool::{Pool, failed};
use crate::build::worker::pod_selector;
use crate::controllers::{App as _, Context};
use crate::crd::CeleryWorker;
use crate::drain::marks::{Annotations, drained, kept, marked, unmarked};
use crate::drain::{Answer, Deed, Lowered, Told};
use crate::error::Error;
use crate::report::DRAIN_MANAGER;

/// Commands under way at a time. Each goes to every worker of the app, which is why a step begins few of them.
const COMMANDS: usize = 8;

/// How long a worker is waited for in one step.
const COMMAND: Duration = Duration::from_secs(20);

/// What a worker said.
enum Said {
    Cancelled(String, Result<(), String>),
    Answered(String, Result<Answer, String>),
    Added(String, Result<(), String>),
    Restored(String, (Vec<String>, Timestamp), Result<(), String>),
}

impl Pool {
    /// Does it. What fails ends the step: the next one sees what was done.
    pub(super) async fn act(
        &mut self,
        context: &Context,
        asks: &Asks,
        worker: &CeleryWorker,
        deployment: &Deployment,
        deeds: Vec<Deed>,
    ) -> Result<(), Error> {
        let mut commands = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Cancel { .. }
                | Deed::Ask { .. }
                | Deed::Add { .. }
                | Deed::Restore { .. } => commands.push(deed),
                Deed::Tell(told) => tell(context, worker, &told).await,
                Deed::Lower(lowered) => {
                    self.lower(context, worker, deployment, lowered).await?;
                }
                Deed::Raise { to } => {
                    let (namespace, name) = place(worker);
                    let apply = &context.apply;
                    apply.scale(&namespace, &name, to, deployment).await?;
                }
                other => write(context, worker, &other).await?,
            }
        }
        let namespace = worker.namespace().unwrap_or_default();
        let app = format!("{namespace}/{}", worker.app().unwrap_or_default());
        let app = &app;
        let commands = commands.into_iter();
        let commands = commands.map(|deed| async move { command(asks, app, deed).await });
        let mut said = stream::iter(commands).buffer_unordered(COMMANDS);
        while let Some(said) = said.next().await {
            let now = super::now();
            match said {
                Some(Said::Cancelled(uid, outcome)) => self.memory.cancelled(&uid, now, outcome),
                Some(Said::Answered(uid, outcome)) => self.memory.answered(&uid, now, outcome),
                Some(Said::Added(uid, outcome)) => {
                    if let Err(words) = &outcome {
                        tracing::warn!(
                            app,
                            error = words,
                            "a worker that was kept does not consume yet"
                        );
                    }
                    self.memory.added(&uid, now, outcome.is_ok());
                }
                Some(Said::Restored(uid, what, outcome)) => {
                    self.memory.restored(&uid, now, what, outcome);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Asks for fewer replicas. What was read of the Deployment still holds, or this is refused; of its `ReplicaSets` only one
    /// may have pods, or it is not known of which they are taken.
    async fn lower(
        &mut self,
        context: &Context,
        worker: &CeleryWorker,
        deployment: &Deployment,
        lowered: Lowered,
    ) -> Result<(), Error> {
        let (namespace, name) = place(worker);
        if !lowered.expected.is_empty() {
            let sets: Api<ReplicaSet> = Api::namespaced(context.client.clone(), &namespace);
            let own = ListParams::default().labels(&pod_selector(&name));
            let sets = sets.list(&own).await;
            let sets = sets.map_err(|error| failed("list", "ReplicaSet", &name, error))?;
            let ours = sets.iter().filter(|set| {
                let mut owners = set.owner_references().iter();
                owners.any(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
            });
            let asked = ours.filter_map(|set| set.spec.as_ref()?.replicas);
            if asked.filter(|replicas| *replicas > 0).count() != 1 {
                return Ok(());
            }
        }
        let to = lowered.to;
        context
            .apply
            .scale(&namespace, &name, to, deployment)
            .await?;
        tracing::info!(namespace, name, replicas = to, "lowered");
        self.memory.lowered(lowered);
        Ok(())
    }
}

fn place(worker: &CeleryWorker) -> (String, String) {
    (worker.namespace().unwrap_or_default(), worker.name_any())
}

/// Writes on a pod.
async fn write(context: &Context, worker: &CeleryWorker, deed: &Deed) -> Result<(), Error> {
    let (pod, uid, annotations): (&str, &str, Annotations) = match deed {
        Deed::Mark { pod, mark } => (pod, &mark.pod_uid, marked(mark)),
        Deed::Undo { pod, undone } => (pod, &undone.pod_uid, kept(undone)),
        Deed::Forget { pod, uid } => (pod, uid, unmarked()),
        Deed::Last { pod, uid } => (pod, uid, drained()),
        Deed::Cancel { .. }
        | Deed::Ask { .. }
        | Deed::Add { .. }
        | Deed::Restore { .. }
        | Deed::Lower(_)
        | Deed::Raise { .. }
        | Deed::Tell(_) => return Ok(()),
    };
    let namespace = worker.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    // With its identity, so that another pod of that name is not written on.
    let patch = json!({"metadata": {"uid": uid, "annotations": annotations}});
    let params = PatchParams {
        field_manager: Some(DRAIN_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match pods.patch(pod, &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        // It is gone, which the next step sees.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(failed("annotate", "Pod", pod, error)),
    }
}

/// Sends a command to a worker, and waits for its answer.
async fn command(asks: &Asks, app: &str, deed: Deed) -> Option<Said> {
    let late = || Err("it did not answer in time".to_owned());
    match deed {
        Deed::Cancel { uid, node, queues } => {
            let outcome = timeout(COMMAND, asks.cancel(app, &node, &queues)).await;
            Some(Said::Cancelled(uid, outcome.unwrap_or_else(|_| late())))
        }
        Deed::Add { uid, node, queues } => {
            let outcome = timeout(COMMAND, asks.add(app, &node, &queues)).await;
            Some(Said::Added(uid, outcome.unwrap_or_else(|_| late())))
        }
        Deed::Restore {
            uid,
            node,
            queues,
            by,
        } => {
            let restore = asks.restore(app, (&uid, &node), &queues, by);
            let outcome = timeout(COMMAND, restore).await;
            let outcome = outcome.unwrap_or_else(|_| late());
            Some(Said::Restored(uid, (queues, by), outcome))
        }
        Deed::Ask { uid, node } => {
            let outcome = timeout(COMMAND, asks.ask(app, &node)).await;
            let outcome = outcome.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
            Some(Said::Answered(uid, outcome))
        }
        _ => None,
    }
}

/// An Event of the pool. What it tells shows elsewhere too, so that one that is lost is not worth a failed step.
async fn tell(context: &Context, worker: &CeleryWorker, told: &Told) {
    let (namespace, name) = place(worker);
    let (reason, note) = (told.reason(), told.note());
    tracing::info!(namespace, name, reason, "{note}");
    let event = Event {
        type_: if told.is_bad() {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.to_owned(),
        note: Some(note),
        action: told.action().to_owned(),
        secondary: None,
    };
    let object = worker.object_ref(&());
    if let Err(error) = context.recorder.publish(&event, &object).await {
        tracing::debug!(%error, "an Event was not taken");
    }
}
