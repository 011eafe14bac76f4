//! The life of one pod: namespaces, volumes, init containers, containers, status, and its end.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::board::{Board, State};
use super::container::{Restart, Runner};
use super::environment::Place;
use super::hosts;
use super::node::Node;
use super::process::{Held, Holder};
use super::status::{self, Facts, is_sidecar};
use super::volumes::{Folders, Volumes};

/// How long after a failure to prepare a pod, or to tell of it, that is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Changes that come together are told together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How often volumes are brought up to date when nothing of the pod changes, as Kubernetes does.
const REFRESH: Duration = Duration::from_mins(1);

/// The order to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// When what still runs is killed.
    pub(super) deadline: Instant,
}

/// A pod as the API has it; none once it is gone there.
pub(super) type Seen = Option<Arc<Pod>>;

/// A pod on this node.
pub(super) struct Running {
    pub(super) node: Arc<Node>,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) place: Place,
    pub(super) address: Ipv4Addr,
    /// What holds its namespaces.
    pub(super) held: Held,
    pub(super) folder: PathBuf,
    pub(super) board: Board,
    volumes: Mutex<Folders>,
    latest: Mutex<Arc<Pod>>,
    stop: watch::Sender<Option<Stop>>,
    since: Timestamp,
    finished: watch::Sender<bool>,
}

/// Runs a pod from its binding to its end.
pub(super) async fn run(node: Arc<Node>, mut seen: watch::Receiver<Seen>) {
    let Some(pod) = seen.borrow_and_update().clone() else {
        return;
    };
    let mut told = String::new();
    let prepared = loop {
        let order = seen.borrow_and_update().clone();
        match order {
            None => return,
            Some(pod) if pod.metadata.deletion_timestamp.is_some() => {
                return delete(&node, &pod).await;
            }
            Some(_) => {}
        }
        match prepare(&node, &pod).await {
            Ok(prepared) => break prepared,
            Err(error) => told = node.problem(&told, &format!("{}: {error:#}", pod.name_any())),
        }
        sleep(RETRY).await;
    };
    let (running, holder) = prepared;
    node.add(&pod, &running);
    let follow = async {
        tokio::join!(
            follow(&running, seen.clone()),
            tell(&running),
            refresh(&running, seen.clone())
        );
    };
    tokio::select! {
        () = live(&running) => {}
        () = follow => {}
    }
    drop(holder);
    node.network.leave(running.address);
    running.finished.send_replace(true);
    last_words(&running, &mut seen).await;
    node.remove(&pod);
    let _ = std::fs::remove_dir_all(&running.folder);
}

async fn prepare(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<(Arc<Running>, Holder)> {
    let name = pod.name_any();
    let spec = pod.spec.clone().unwrap_or_default();
    let hostname = spec.hostname.unwrap_or_else(|| name.clone());
    let shared = spec.share_process_namespace == Some(true);
    let holder = Holder::start(&hostname, shared).await?;
    let held = holder.held();
    let address = node.network.join(held.pid)?;
    let folder = node.folder.join("pods").join(pod.uid().unwrap_or_default());
    std::fs::create_dir_all(&folder)?;
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let running = Running {
        node: node.clone(),
        namespace: pod.namespace().unwrap_or_default(),
        place: Place {
            node: node.name.clone(),
            host: node.network.host().to_string(),
            address: address.to_string(),
        },
        address,
        held,
        folder,
        board: Board::new(containers.map(|container| container.name.clone())),
        volumes: Mutex::default(),
        latest: Mutex::new(pod.clone()),
        stop: watch::Sender::new(None),
        since: Timestamp::now(),
        finished: watch::Sender::new(false),
        name,
    };
    hosts::write(&running, &node.services.borrow())?;
    Ok((Arc::new(running), holder))
}

/// Volumes, init containers one after the other, the containers, and at last the sidecars' end.
async fn live(pod: &Arc<Running>) {
    let spec = pod.pod().spec.clone().unwrap_or_default();
    let restart = match spec.restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    tokio::select! {
        () = volumes(pod) => {}
        _ = pod.stopped() => return,
    }
    let inits = spec.init_containers.unwrap_or_default();
    let regular: Vec<String> = spec.containers.iter().map(|one| one.name.clone()).collect();
    let mut sidecars = JoinSet::new();
    for (at, init) in inits.iter().enumerate() {
        let runner = |restart, after| Runner {
            pod: pod.clone(),
            container: init.clone(),
            restart,
            after,
        };
        if is_sidecar(init) {
            // Sidecars end after the containers, the last first.
            let later = inits[at + 1..].iter().filter(|later| is_sidecar(later));
            let after = regular
                .iter()
                .cloned()
                .chain(later.map(|later| later.name.clone()));
            sidecars.spawn(runner(Restart::Always, after.collect()).run());
            let started = |states: &super::board::States| states[&init.name].started;
            let mut board = pod.board.watch();
            tokio::select! {
                _ = board.wait_for(started) => {}
                _ = pod.stopped() => break,
            }
        } else {
            let again = if restart == Restart::Never {
                Restart::Never
            } else {
                Restart::OnFailure
            };
            runner(again, Vec::new()).run().await;
            let states = pod.board.states();
            if !matches!(&states[&init.name].state, State::Ended(ended) if ended.code == 0) {
                break;
            }
        }
        if pod.stop_now().is_some() {
            break;
        }
    }
    contain(pod, &spec.containers, restart, &inits).await;
    // No order from outside: the containers ended by themselves.
    pod.stop_by(Instant::now() + pod.grace());
    while sidecars.join_next().await.is_some() {}
}

/// Runs the containers until all are over; those that cannot run, since an init container failed, are over at once.
async fn contain(
    pod: &Arc<Running>,
    containers: &[Container],
    restart: Restart,
    inits: &[Container],
) {
    let states = pod.board.states();
    let initialized = inits.iter().all(|init| {
        let state = &states[&init.name];
        let well = matches!(&state.state, State::Ended(ended) if ended.code == 0);
        if is_sidecar(init) {
            state.started
        } else {
            well
        }
    });
    if !initialized || pod.stop_now().is_some() {
        for container in containers.iter().chain(inits) {
            pod.board.change(&container.name, |entry| {
                entry.over |= !is_sidecar(container) || entry.pid.is_none();
            });
        }
        return;
    }
    let mut runners = JoinSet::new();
    for container in containers {
        pod.board.change(&container.name, |entry| {
            entry.state = State::Waiting("ContainerCreating", String::new());
        });
        let container = container.clone();
        let runner = Runner {
            pod: pod.clone(),
            container,
            restart,
            after: Vec::new(),
        };
        runners.spawn(runner.run());
    }
    while runners.join_next().await.is_some() {}
}

async fn volumes(pod: &Running) {
    let mut told = String::new();
    loop {
        let latest = pod.pod();
        match pod.volumes_of(&latest).prepare().await {
            Ok(folders) => {
                *pod.volumes.lock().unwrap_or_else(PoisonError::into_inner) = folders;
                return;
            }
            Err(error) => told = pod.node.problem(&told, &format!("{}: {error:#}", pod.name)),
        }
        sleep(RETRY).await;
    }
}

/// Keeps volumes up to date, for ever: at once when labels or annotations change, else from time to time.
async fn refresh(pod: &Running, mut seen: watch::Receiver<Seen>) {
    let mut told = String::new();
    let mut last = pod.pod();
    loop {
        let changed = async {
            while seen.changed().await.is_ok() {
                let latest = seen.borrow_and_update().clone();
                let metadata = latest.as_ref().map(|latest| &latest.metadata);
                let same = metadata.is_none_or(|now| {
                    now.annotations == last.metadata.annotations
                        && now.labels == last.metadata.labels
                });
                if !same {
                    return latest;
                }
            }
            std::future::pending().await
        };
        if let Ok(Some(latest)) = tokio::time::timeout(REFRESH, changed).await {
            last = latest;
        }
        pod.node.awake().await;
        // Not before they are there.
        if pod.folders().is_empty() {
            continue;
        }
        if let Err(error) = pod.volumes_of(&last).refresh().await {
            told = pod.node.problem(&told, &format!("{}: {error:#}", pod.name));
        }
    }
}

/// Hears the order to stop: deletion begins the grace period, absence ends it.
async fn follow(pod: &Running, mut seen: watch::Receiver<Seen>) {
    loop {
        let latest = seen.borrow_and_update().clone();
        match latest {
            None => pod.stop_by(Instant::now()),
            Some(latest) => {
                if latest.metadata.deletion_timestamp.is_some() && pod.stop_now().is_none() {
                    let seconds = latest.metadata.deletion_grace_period_seconds.unwrap_or(0);
                    let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                    pod.stop_by(Instant::now() + grace);
                }
                *pod.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
            }
        }
        if seen.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Writes the pod's status as it changes.
async fn tell(pod: &Running) {
    let mut board = pod.board.watch();
    let mut last = serde_json::Value::Null;
    loop {
        board.borrow_and_update();
        if let Err(error) = tell_once(pod, &mut last).await {
            pod.node
                .problem("", &format!("status of {}: {error}", pod.name));
            sleep(RETRY).await;
            continue;
        }
        if board.changed().await.is_err() {
            return std::future::pending().await;
        }
        sleep(TOGETHER).await;
    }
}

async fn tell_once(pod: &Running, last: &mut serde_json::Value) -> Result<(), kube::Error> {
    let facts = Facts {
        host: pod.place.host.clone(),
        address: Some(pod.place.address.clone()),
        since: pod.since,
        finished: *pod.finished.borrow(),
    };
    let latest = pod.pod();
    let status = status::status(&latest, &pod.board.states(), &facts, Timestamp::now());
    let untimed = |status: &serde_json::Value| {
        let mut status = status.clone();
        for condition in status["status"]["conditions"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            condition["lastTransitionTime"] = serde_json::Value::Null;
        }
        status
    };
    if untimed(&status) == untimed(last) {
        return Ok(());
    }
    pod.node.awake().await;
    let pods: Api<Pod> = Api::namespaced(pod.node.client.clone(), &pod.namespace);
    match pods
        .patch_status(
            &pod.name,
            &PatchParams::default(),
            &Patch::Strategic(&status),
        )
        .await
    {
        Ok(patched) => {
            let mut latest = pod.latest.lock().unwrap_or_else(PoisonError::into_inner);
            // What it says of conditions' times counts for the next time.
            let mut with_status = (**latest).clone();
            with_status.status = patched.status;
            *latest = Arc::new(with_status);
            *last = status;
            Ok(())
        }
        // It is gone: whoever follows the pod hears of it.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The final status, and the end of the object when its deletion was asked for, now or later.
async fn last_words(pod: &Running, seen: &mut watch::Receiver<Seen>) {
    let mut last = serde_json::Value::Null;
    while let Err(error) = tell_once(pod, &mut last).await {
        pod.node
            .problem("", &format!("status of {}: {error}", pod.name));
        sleep(RETRY).await;
    }
    loop {
        let latest = seen.borrow_and_update().clone();
        match latest {
            None => return,
            Some(latest) if latest.metadata.deletion_timestamp.is_some() => {
                return delete(&pod.node, &latest).await;
            }
            Some(_) => {}
        }
        if seen.changed().await.is_err() {
            return;
        }
    }
}

/// Removes the object of a pod of which nothing runs any more; not one of the same name that came after it.
async fn delete(node: &Node, pod: &Pod) {
    let pods: Api<Pod> = Api::namespaced(node.client.clone(), &pod.namespace().unwrap_or_default());
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    loop {
        node.awake().await;
        match pods.delete(&pod.name_any(), &parameters).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                return;
            }
            Err(error) => {
                node.problem("", &format!("deletion of {}: {error}", pod.name_any()));
            }
        }
        sleep(RETRY).await;
    }
}

impl Running {
    /// The pod as last seen.
    pub(super) fn pod(&self) -> Arc<Pod> {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn folders(&self) -> Folders {
        self.volumes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn volumes_of<'a>(&'a self, pod: &'a Pod) -> Volumes<'a> {
        Volumes {
            client: &self.node.client,
            pod,
            place: &self.place,
            folder: &self.folder,
            claims: &self.node.claims,
        }
    }

    pub(super) fn hosts_file(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    /// The grace period of its spec.
    pub(super) fn grace(&self) -> Duration {
        let seconds = self
            .pod()
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        Duration::from_secs(u64::try_from(seconds.unwrap_or(30)).unwrap_or(0))
    }

    /// The order to stop, if it was given.
    pub(super) fn stop_now(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Waits for the order to stop.
    pub(super) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        let stop = stop.wait_for(Option::is_some).await;
        stop.expect("the sender is ours")
            .expect("it was waited for")
    }

    fn stop_by(&self, deadline: Instant) {
        self.stop.send_if_modified(|stop| {
            let earlier = stop.is_none_or(|stop| deadline < stop.deadline);
            if earlier {
                *stop = Some(Stop { deadline });
            }
            earlier
        });
    }
}
