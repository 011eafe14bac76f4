//! A process kubelet: a node whose pods are real processes of this machine, in network, mount, process and host name
//! namespaces of their own.
//!
//! ```no_run
//! # async fn example(namespace: &celeriac_tests::kube::Namespace) {
//! use celeriac_tests::kubelet::{Image, Kubelet};
//! use celeriac_tests::Redis;
//!
//! let kubelet = Kubelet::of(namespace)
//!     .image("example/mail", Image::celery("5.7"))                   // any tag
//!     .image("redis", Image::system(&["redis-server"]))
//!     .image("celeriac/inspector", Image::ours("celeriac-inspector"))
//!     .start()
//!     .await;
//! let redis = Redis::builder().listen(kubelet.host()).start();       // a broker that its pods reach, without a pod
//! namespace.apply("…");                                              // pods of that namespace come to this node
//! kubelet.signal("mail-0", "worker", nix::sys::signal::Signal::SIGKILL); // their containers' own process
//! println!("{}", kubelet.log("mail-0", "worker"));
//! kubelet.silence(true);                                             // a lost node, whose processes go on
//! # }
//! ```
//!
//! It runs as root only, and says so. It knows: env with everything it may name, envFrom, service links; commands, arguments,
//! working folders; volumes of the kinds emptyDir, secret, configMap, downwardAPI, projected (with a bound token), hostPath and
//! claims (for which it makes a volume), of which those of one Secret, ConfigMap or of the pod's own fields follow changes, at
//! once with the pod's annotations, else within a minute; init containers and native sidecars in their order; startup, liveness
//! and readiness probes; postStart and preStop; grace periods; restarts with a back-off that is a tenth of Kubernetes' own;
//! users, groups, read-only roots; one process namespace for all of a pod's containers; services by name, straight to the
//! pods' own ports, and pods by host names of a `StatefulSet`.
//!
//! It does not know: logs and exec over the API (use [`Kubelet::log`]), refreshed tokens and projected volumes, limits of
//! resources, gRPC probes, cluster addresses of services, pods on the network of their host.
//!
//! Pods see the machine's file system, read-only but for a layer in memory, without its people's folders and scratch, plus
//! what their [`Image`] brings. Everything ends with the kubelet, or with the test binary, whichever way that comes.

mod board;
mod container;
mod environment;
mod hosts;
mod image;
mod network;
mod node;
mod pod;
mod probe;
mod process;
mod status;
mod trusting;
mod volumes;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::kube::{ControlPlane, Namespace};

use board::ContainerState;
use image::Images;
use network::Network;
use node::Node;

pub use image::Image;

/// What pods call the API server.
const API_SERVER: &str = "kubernetes.default.svc";

/// How long a node may take to say that it ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running node.
pub struct Kubelet {
    node: Arc<Node>,
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    #[expect(dead_code, reason = "it goes last")]
    folder: TempDir,
}

/// What a [`Kubelet`] is to be like.
pub struct KubeletBuilder {
    plane: &'static ControlPlane,
    namespaces: BTreeSet<String>,
    name: String,
    images: Images,
}

impl Kubelet {
    /// Describes a node that takes the pods of a namespace of the shared control plane, and is named after it.
    ///
    /// # Panics
    /// When the shared control plane has not been started.
    pub fn of(namespace: &Namespace) -> KubeletBuilder {
        KubeletBuilder {
            plane: ControlPlane::started(),
            namespaces: [namespace.name().to_owned()].into(),
            name: format!("node-{}", namespace.name()),
            images: Images::default(),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// This machine's address by which its pods reach what listens there.
    pub fn host(&self) -> Ipv4Addr {
        self.node.network.host()
    }

    /// The process that a container runs, by this machine's numbers.
    pub fn pid(&self, pod: &str, container: &str) -> Option<u32> {
        self.container(pod, container)?.pid
    }

    /// What a container has written: its running life, else the end of its last.
    pub fn log(&self, pod: &str, container: &str) -> String {
        let Some(state) = self.container(pod, container) else {
            return String::new();
        };
        let log = state.log.and_then(|file| std::fs::read(file).ok());
        log.map_or(state.last_log, |log| {
            String::from_utf8_lossy(&log).into_owned()
        })
    }

    /// Sends a signal to the process that a container runs.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, pod: &str, container: &str, signal: Signal) {
        let pid = self.pid(pod, container);
        let pid = pid.unwrap_or_else(|| panic!("{pod}/{container} does not run"));
        let pid = i32::try_from(pid).expect("process ids fit in an i32");
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("{pod}/{container}: {error}"));
    }

    /// Whether it is silent: no lease, no status, no order heard, as a node that lost its network; what runs goes on.
    pub fn silence(&self, silent: bool) {
        self.node.silent.send_replace(silent);
    }

    fn container(&self, pod: &str, container: &str) -> Option<ContainerState> {
        let pods = self.node.running();
        let pod = pods.iter().find(|running| running.name == pod)?;
        pod.board.states().remove(container)
    }
}

impl KubeletBuilder {
    /// Takes the pods of one more namespace.
    #[must_use]
    pub fn also(mut self, namespace: &Namespace) -> Self {
        self.namespaces.insert(namespace.name().to_owned());
        self
    }

    /// Names the node; several of one namespace need names. A pod goes to the first that asks, or by `nodeSelector` on
    /// `kubernetes.io/hostname`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// What stands for images whose name begins so; the longest that fits counts.
    #[must_use]
    pub fn image(mut self, name: &str, image: Image) -> Self {
        self.images.add(name, image);
        self
    }

    /// Starts it and waits until Kubernetes knows it.
    ///
    /// # Panics
    /// When this machine does not permit it, or the API server refuses it.
    pub async fn start(self) -> Kubelet {
        let user = format!("system:node:{}", self.name);
        let access = self.plane.user(&user, "system:masters").await;
        let folder = TempDir::new().expect("the temporary folder is writable");
        let script = folder.path().join("enter.sh");
        std::fs::write(&script, include_str!("kubelet/enter.sh")).expect("a folder of our own");
        let claims = self.plane.folder().join("claims");
        let network = Network::new();
        let (registered, answer) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let paths = [folder.path().to_owned(), claims, script];
        let server = self.plane.address();
        // A runtime of its own: a test that blocks does not stop the node, and nothing of the node outlives it.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("the system has threads");
            runtime.block_on(async {
                let client = access.client();
                let node = Node::new(
                    self.name,
                    self.namespaces,
                    client,
                    self.images,
                    network,
                    paths,
                );
                let node = Arc::new(node);
                let result = node.register().await;
                let _ = registered.send(result.map(|()| node.clone()));
                tokio::select! {
                    _ = stopped => {}
                    () = node.renew() => {}
                    () = node.bind() => {}
                    () = node.clone().run() => {}
                    () = node.name_services() => {}
                    () = forward(node.network.host(), server) => {}
                }
                // A node that is silent for ever would count as a lost one.
                let _ = timeout(FAREWELL, node.unregister()).await;
            });
        });
        let node = answer.await.expect("the thread answers");
        let node = node.unwrap_or_else(|error| panic!("the node is not registered: {error:#}"));
        Kubelet {
            node,
            stop: Some(stop),
            thread: Some(thread),
            folder,
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        drop(self.stop.take());
        // With its runtime go its tasks, and with those its processes.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.node.forget();
    }
}

/// Gives pods the API server, which listens on loopback, on the address that they reach.
async fn forward(host: Ipv4Addr, server: SocketAddr) {
    let listener = TcpListener::bind((host, 443))
        .await
        .expect("the bridge is ours alone");
    loop {
        let Ok((mut inside, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(async move {
            if let Ok(mut outside) = TcpStream::connect(server).await {
                // Either side may break off.
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            }
        });
    }
}
