//! What a node tells Kubernetes of itself, and what it hears: its pods, pods that wait for a node, services.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_all};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::hosts::{self, Services};
use super::image::Images;
use super::network::Network;
use super::pod::{self, Running, Seen};

/// How often a lease is renewed; Kubernetes takes a node for lost after 50 s.
const RENEW: Duration = Duration::from_secs(5);

/// How long after a refusal it asks again.
const RETRY: Duration = Duration::from_millis(500);

/// A node, shared by everything that runs for it.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) namespaces: BTreeSet<String>,
    pub(super) client: Client,
    pub(super) images: Images,
    pub(super) network: Network,
    pub(super) folder: PathBuf,
    /// Where claims keep their data, whichever node uses them.
    pub(super) claims: PathBuf,
    /// Becomes a container.
    pub(super) script: PathBuf,
    pub(super) services: watch::Sender<Services>,
    pub(super) silent: watch::Sender<bool>,
    pods: Mutex<BTreeMap<String, Arc<Running>>>,
}

impl Node {
    pub(super) fn new(
        name: String,
        namespaces: BTreeSet<String>,
        client: Client,
        images: Images,
        network: Network,
        [folder, claims, script]: [PathBuf; 3],
    ) -> Self {
        Self {
            name,
            namespaces,
            client,
            images,
            network,
            folder,
            claims,
            script,
            services: watch::Sender::default(),
            silent: watch::Sender::new(false),
            pods: Mutex::default(),
        }
    }

    /// Waits until it speaks with the API server, which it does unless a test silences it.
    pub(super) async fn awake(&self) {
        let mut silent = self.silent.subscribe();
        let _ = silent.wait_for(|silent| !silent).await;
    }

    /// Prints what went wrong, unless it is what was said before; gives it back.
    pub(super) fn problem(&self, before: &str, problem: &str) -> String {
        if before != problem {
            eprintln!("node {}: {problem}", self.name);
        }
        problem.to_owned()
    }

    pub(super) fn add(&self, pod: &Pod, running: &Arc<Running>) {
        self.pods()
            .insert(pod.uid().unwrap_or_default(), running.clone());
    }

    pub(super) fn remove(&self, pod: &Pod) {
        self.pods().remove(&pod.uid().unwrap_or_default());
    }

    /// Forgets its pods, which hold it as it holds them.
    pub(super) fn forget(&self) {
        self.pods().clear();
    }

    /// The pods it runs.
    pub(super) fn running(&self) -> Vec<Arc<Running>> {
        self.pods().values().cloned().collect()
    }

    fn pods(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_mine(&self, namespace: Option<String>) -> bool {
        namespace.is_some_and(|namespace| self.namespaces.contains(&namespace))
    }

    /// Makes the node's object and its lease.
    pub(super) async fn register(&self) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        let object = serde_json::from_value(json!({
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
        }))?;
        nodes.create(&PostParams::default(), &object).await?;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        leases
            .create(
                &PostParams::default(),
                &serde_json::from_value(self.lease())?,
            )
            .await?;
        let status = Patch::Merge(self.status());
        nodes
            .patch_status(&self.name, &PatchParams::default(), &status)
            .await?;
        Ok(())
    }

    /// Removes the node's object and its lease.
    pub(super) async fn unregister(&self) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        nodes.delete(&self.name, &DeleteParams::default()).await?;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        leases.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    fn lease(&self) -> Value {
        // Six digits: what MicroTime has.
        let now = format!("{:.6}", Timestamp::now());
        json!({
            "metadata": {"name": self.name},
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now},
        })
    }

    fn status(&self) -> Value {
        let now = Timestamp::now();
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "ProcessKubelet", "message": "",
                "lastHeartbeatTime": now, "lastTransitionTime": now})
        };
        let size =
            json!({"cpu": "64", "memory": "64Gi", "pods": "250", "ephemeral-storage": "100Gi"});
        json!({"status": {
            "capacity": size, "allocatable": size,
            "addresses": [{"type": "InternalIP", "address": self.network.host()},
                {"type": "Hostname", "address": self.name}],
            "conditions": [condition("Ready", "True"), condition("MemoryPressure", "False"),
                condition("DiskPressure", "False"), condition("PIDPressure", "False")],
        }})
    }

    /// Renews the lease, for ever.
    pub(super) async fn renew(&self) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let mut tick = interval(RENEW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ready_at_once = Timestamp::now();
        loop {
            tick.tick().await;
            self.awake().await;
            let lease = Patch::Merge(self.lease());
            let mut result = leases
                .patch(&self.name, &PatchParams::default(), &lease)
                .await
                .map(drop);
            // Once it was taken for lost, only a new status says otherwise.
            if result.is_ok() && ready_at_once.duration_until(Timestamp::now()).as_secs() >= 20 {
                ready_at_once = Timestamp::now();
                let nodes: Api<NodeObject> = Api::all(self.client.clone());
                let status = Patch::Merge(self.status());
                result = nodes
                    .patch_status(&self.name, &PatchParams::default(), &status)
                    .await
                    .map(drop);
            }
            if let Err(error) = result {
                self.problem("", &format!("lease: {error}"));
            }
        }
    }

    /// Binds pods that wait for a node to this one, for ever. Of several nodes the first to ask gets a pod.
    pub(super) async fn bind(&self) {
        let waiting = watcher::Config::default().fields("spec.nodeName=");
        let pods = watch_all(Api::<Pod>::all(self.client.clone()), waiting)
            .default_backoff()
            .applied_objects();
        pin_mut!(pods);
        while let Some(pod) = pods.next().await {
            self.awake().await;
            match pod {
                Ok(pod) if self.takes(&pod) => self.take(&pod).await,
                Ok(_) => {}
                Err(error) => drop(self.problem("", &format!("pods without a node: {error}"))),
            }
        }
    }

    fn takes(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let mut wanted = spec
            .and_then(|spec| spec.node_selector.as_ref())
            .into_iter()
            .flatten();
        self.is_mine(pod.namespace())
            && pod.metadata.deletion_timestamp.is_none()
            && spec.is_some_and(|spec| spec.node_name.is_none() && spec.scheduling_gates.is_none())
            && wanted.all(|(key, value)| key == "kubernetes.io/hostname" && *value == self.name)
    }

    async fn take(&self, pod: &Pod) {
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let body = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.name},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        loop {
            let request = http::Request::post(&path)
                .header("Content-Type", "application/json")
                .body(body.to_string().into_bytes())
                .expect("names of pods are valid in paths");
            match self.client.request::<Value>(request).await {
                Ok(_) => return,
                // Another node was first, or it is gone.
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                    return;
                }
                Err(error) => drop(self.problem("", &format!("binding of {name}: {error}"))),
            }
            sleep(RETRY).await;
        }
    }

    /// Runs the pods that are bound to it, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", self.name));
        let events = watch_all(Api::<Pod>::all(self.client.clone()), mine).default_backoff();
        pin_mut!(events);
        let mut pods: BTreeMap<String, watch::Sender<Seen>> = BTreeMap::new();
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            self.awake().await;
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.insert(pod.uid().unwrap_or_default());
                    self.see(&mut pods, pod);
                }
                Ok(Event::InitDone) => pods.retain(|uid, seen| listed.contains(uid) || gone(seen)),
                Ok(Event::Apply(pod)) => self.see(&mut pods, pod),
                Ok(Event::Delete(pod)) => {
                    pods.retain(|uid, seen| Some(uid) != pod.uid().as_ref() || gone(seen));
                }
                Err(error) => drop(self.problem("", &format!("pods: {error}"))),
            }
        }
    }

    fn see(self: &Arc<Self>, pods: &mut BTreeMap<String, watch::Sender<Seen>>, pod: Pod) {
        let seen = pods
            .entry(pod.uid().unwrap_or_default())
            .or_insert_with(|| {
                let sender = watch::Sender::new(Some(Arc::new(pod.clone())));
                tokio::spawn(pod::run(self.clone(), sender.subscribe()));
                sender
            });
        seen.send_replace(Some(Arc::new(pod)));
    }

    /// Keeps the names of services in the pods' hosts files, for ever.
    pub(super) async fn name_services(&self) {
        let slices = Api::<EndpointSlice>::all(self.client.clone());
        let (reader, writer) = kube::runtime::reflector::store();
        let events = watch_all(slices, watcher::Config::default()).default_backoff();
        let events = kube::runtime::reflector(writer, events);
        pin_mut!(events);
        loop {
            match events.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => drop(self.problem("", &format!("services: {error}"))),
            }
            let state = reader.state();
            let slices = state.iter().map(AsRef::as_ref);
            let mine = slices.filter(|slice: &&EndpointSlice| self.is_mine(slice.namespace()));
            let services = hosts::services(mine);
            let changed = self.services.send_if_modified(|known| {
                let changed = *known != services;
                known.clone_from(&services);
                changed
            });
            if changed {
                for pod in self.running() {
                    if let Err(error) = hosts::write(&pod, &services) {
                        self.problem("", &format!("hosts of {}: {error}", pod.name));
                    }
                }
            }
        }
    }
}

/// Tells a pod's task that its object is gone; false, so that it is forgotten.
fn gone(seen: &watch::Sender<Seen>) -> bool {
    seen.send_replace(None);
    false
}
