//! A real Kubernetes control plane on free loopback ports: etcd, kube-apiserver and kube-controller-manager, one for a test
//! binary, with a namespace for each test.
//!
//! ```no_run
//! # async fn example() {
//! use celeriac_tests::kube::ControlPlane;
//!
//! let plane = ControlPlane::shared().await;          // started by the first test that asks, ~10 s
//! let namespace = plane.namespace("scaling").await;  // `scaling-1`, with its default ServiceAccount
//! namespace.apply("…");                              // kubectl apply -f - as cluster administrator, in that namespace
//! let client = namespace.client();                   // kube::Client of the same
//! let mark = plane.audit().mark();
//! let operator = namespace.account("operator").await; // made if need be, no rights but those you bind to it
//! let config = operator.config();                    // kube::Config with a token of it, by TokenRequest
//! let pods = operator.try_kubectl(&["get", "pods"]); // Err("… is forbidden …")
//! let calls = plane.audit().calls_since(mark);       // what the API server was asked: who, verb, resource, code, body
//! # }
//! ```
//!
//! * RBAC is on; the administrator is in `system:masters`. Nothing of ours is installed: a test applies CRDs and roles itself.
//! * There is no node. Pods stay Pending, which is enough for everything that does not look at what runs in them; with a
//!   [`Kubelet`](crate::kubelet) they run.
//! * Its end is the end of the test binary, whichever way that comes. Namespaces are left to that; whoever watches all
//!   namespaces sees those of other tests. A test that breaks servers starts its own with [`ControlPlane::start`].
//! * The programs lie in the folder named by `KUBEBUILDER_ASSETS`, else where `tests/controlplane/install` has put them.

mod access;
mod audit;
mod certificates;
mod look;
mod servers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, ServiceAccount};
use kube::api::{Api, PostParams};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::janitor::Janitor;
use crate::process::Process;
use crate::redis::free_address;
use crate::wait::eventually;

use crate::certificates::Authority;
pub use access::{Access, Namespace};
pub use audit::{AuditLog, Call, Mark};
pub use look::{SOON, condition};

/// How long a part may take to serve. On two busy cores the API server needs up to half a minute.
const START: Duration = Duration::from_mins(3);

/// The user of the administrator, as audit and RBAC see it.
pub const ADMINISTRATOR: &str = "administrator";

/// A running control plane.
pub struct ControlPlane {
    etcd: Option<Process>,
    api_server: Option<Process>,
    controllers: Option<Process>,
    #[expect(dead_code, reason = "it removes the folder when this is dropped")]
    janitor: Janitor,
    folder: PathBuf,
    programs: PathBuf,
    authority: Authority,
    addresses: Addresses,
    administrator: Access,
}

/// Where its parts listen.
#[derive(Clone, Copy)]
struct Addresses {
    etcd: SocketAddr,
    /// etcd would talk to other etcds there; it cannot be told not to listen.
    etcd_peers: SocketAddr,
    api_server: SocketAddr,
}

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
static NAMESPACES: AtomicU32 = AtomicU32::new(1);

impl ControlPlane {
    /// The one that the tests of this binary share.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// The shared one, which a test of this binary has started.
    ///
    /// # Panics
    /// When none has.
    pub fn started() -> &'static Self {
        SHARED.get().expect("ControlPlane::shared() comes first")
    }

    /// Starts one and waits until it serves and its controllers work.
    ///
    /// # Panics
    /// When the programs are missing or do not start.
    pub async fn start() -> Self {
        // Only the first of a process counts, and all of ours are this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new()
            .expect("the temporary folder is writable")
            .keep();
        let janitor = Janitor::of(&folder);
        let addresses = Addresses {
            etcd: free_address(),
            etcd_peers: free_address(),
            api_server: free_address(),
        };
        let authority = certificates::authority(&folder);
        let server = format!("https://{}", addresses.api_server);
        let programs = servers::programs();
        let administrator = Access::by_certificate(
            &authority,
            &server,
            &programs,
            &folder,
            ADMINISTRATOR,
            "system:masters",
        )
        .await;
        let mut plane = Self {
            etcd: None,
            api_server: None,
            controllers: None,
            janitor,
            folder,
            programs,
            authority,
            addresses,
            administrator,
        };
        plane.start_etcd();
        plane.start_api_server().await;
        plane.start_controllers().await;
        plane
    }

    /// The administrator's way in.
    pub fn administrator(&self) -> &Access {
        &self.administrator
    }

    /// A way in for a user with a client certificate, in one group; what RBAC gives them is all they may do.
    pub async fn user(&self, name: &str, group: &str) -> Access {
        Access::by_certificate(
            &self.authority,
            &format!("https://{}", self.addresses.api_server),
            &self.programs,
            &self.folder,
            name,
            group,
        )
        .await
    }

    /// A new namespace whose name begins with `name`, once pods can be made in it.
    ///
    /// # Panics
    /// When it cannot be made, or its default ServiceAccount does not come.
    pub async fn namespace(&self, name: &str) -> Namespace {
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{number}");
        let client = self.administrator.client();
        let mut object = NamespaceObject::default();
        object.metadata.name = Some(name.clone());
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap_or_else(|error| panic!("namespace {name}: {error}"));
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        eventually("a namespace has its default ServiceAccount", START, || {
            accounts.get("default")
        })
        .await;
        Namespace::new(self.administrator.within(&name).await, name)
    }

    /// What the API server has been asked.
    pub fn audit(&self) -> AuditLog {
        AuditLog::at(&self.folder.join("audit.log"))
    }

    /// Where the API server listens, on loopback.
    pub fn address(&self) -> SocketAddr {
        self.addresses.api_server
    }

    /// The certificate of its authority, PEM.
    pub fn authority(&self) -> String {
        self.authority.certificate()
    }

    /// The folder with its programs, kubectl among them.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// A folder that is removed with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The resident memory of its three processes together, in bytes.
    ///
    /// # Panics
    /// When one of them does not run.
    pub fn resident_bytes(&self) -> u64 {
        [&self.etcd, &self.api_server, &self.controllers]
            .map(|process| process.as_ref().expect("it runs").resident_bytes())
            .iter()
            .sum()
    }
}
