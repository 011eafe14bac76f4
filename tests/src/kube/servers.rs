//! The three processes of a control plane: their arguments, when they serve, how they are stopped.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use nix::sys::signal::Signal;

use super::{ControlPlane, START, audit, certificates};
use crate::paths;
use crate::process::Process;
use crate::wait::{eventually, eventually_blocking};

/// How long a part may take to end when asked to.
const STOP: Duration = Duration::from_mins(1);

/// Who signs tokens of ServiceAccounts.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What pods call the API server.
const NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The folder with the programs, by the convention of Kubernetes' own test environment, else our cache.
///
/// # Panics
/// When they are not there, or were built from other sources than those of this checkout.
pub(super) fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("KUBEBUILDER_ASSETS") {
        let folder = PathBuf::from(folder);
        for name in [
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kubectl",
        ] {
            let path = folder.join(name);
            assert!(
                path.exists(),
                "KUBEBUILDER_ASSETS is set and {} is not there: unset it to use what tests/controlplane/install makes",
                path.display()
            );
        }
        return folder;
    }
    let folder = paths::cache().join("kube");
    let sources = paths::root().join("tests/controlplane");
    for name in ["go.mod", "go.sum", "main.go"] {
        let [built, current] = [&folder, &sources].map(|folder| std::fs::read(folder.join(name)));
        assert!(
            built.is_ok() && built.ok() == current.ok(),
            "no control plane of these sources in {}: run `tests/controlplane/install`, or set KUBEBUILDER_ASSETS",
            folder.display()
        );
    }
    folder
}

impl ControlPlane {
    /// Starts etcd, again if need be, with the data it had.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub fn start_etcd(&mut self) {
        self.kill_etcd();
        let client = format!("http://{}", self.addresses.etcd);
        let peers = format!("http://{}", self.addresses.etcd_peers);
        let process = self.process("etcd", |command| {
            command
                .arg("--data-dir")
                .arg(self.folder.join("etcd"))
                .args(["--listen-client-urls", &client])
                .args(["--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peers])
                .args(["--initial-advertise-peer-urls", &peers])
                .args(["--initial-cluster", &format!("default={peers}")])
                .args(["--log-level", "warn", "--unsafe-no-fsync"]);
        });
        let process = self.etcd.insert(process);
        let address = self.addresses.etcd;
        eventually_blocking("etcd serves", START, || {
            alive(process);
            match crate::product::http_get(address, "/health") {
                Ok((200, body)) if body.contains("true") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Starts the API server, again if need be, on the same port.
    ///
    /// # Panics
    /// When it does not get ready in time.
    pub async fn start_api_server(&mut self) {
        self.kill_api_server();
        std::fs::write(self.folder.join("audit.yaml"), audit::POLICY)
            .expect("a file in a folder of our own");
        certificates::serve(&self.authority, self.addresses.api_server.ip(), &NAMES);
        let process = self.process("kube-apiserver", |command| self.serve(command));
        let process = self.api_server.insert(process);
        let client = self.administrator.client();
        eventually("the API server is ready", START, async || {
            alive(process);
            let request = http::Request::get("/readyz").body(Vec::new());
            client.request_text(request.expect("a valid request")).await
        })
        .await;
    }

    /// Starts the controller manager, again if need be.
    ///
    /// # Panics
    /// When it does not work in time.
    pub async fn start_controllers(&mut self) {
        self.kill_controllers();
        let way_in = self.user("system:kube-controller-manager", "celeriac:tests");
        let kubeconfig = way_in.await.kubeconfig().to_owned();
        let process = self.process("kube-controller-manager", |command| {
            command
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .arg("--service-account-private-key-file")
                .arg(self.authority.file("accounts.key"))
                .arg("--root-ca-file")
                .arg(self.authority.file("ca.crt"))
                // Each controller as its own account, as clusters have it; one controller manager; nothing served.
                .args(["--use-service-account-credentials", "--leader-elect=false"])
                .args([
                    "--secure-port=0",
                    "--kube-api-qps=200",
                    "--kube-api-burst=400",
                ]);
        });
        let process = self.controllers.insert(process);
        let accounts: Api<ServiceAccount> = Api::namespaced(self.administrator.client(), "default");
        eventually("controllers work", START, async || {
            alive(process);
            accounts.get("default").await
        })
        .await;
    }

    /// Kills etcd with SIGKILL.
    pub fn kill_etcd(&mut self) {
        self.etcd = None;
    }

    /// Sends etcd a signal: one that is stopped for a while is a slow one.
    pub fn signal_etcd(&self, signal: Signal) {
        if let Some(etcd) = &self.etcd {
            etcd.signal(signal);
        }
    }

    /// Kills the API server with SIGKILL.
    pub fn kill_api_server(&mut self) {
        self.api_server = None;
    }

    /// Kills the controller manager with SIGKILL.
    pub fn kill_controllers(&mut self) {
        self.controllers = None;
    }

    /// Stops all in order, by SIGTERM, and waits.
    ///
    /// # Panics
    /// When one does not end in time.
    pub fn stop(mut self) {
        let parts = [&mut self.controllers, &mut self.api_server, &mut self.etcd];
        for mut process in parts.into_iter().filter_map(Option::take) {
            process.stop(STOP);
        }
    }

    fn serve(&self, command: &mut Command) {
        let file = |name: &str| self.authority.file(name);
        let keys = [
            ("--tls-cert-file", "api.crt"),
            ("--tls-private-key-file", "api.key"),
            ("--client-ca-file", "ca.crt"),
            ("--service-account-key-file", "accounts.pub"),
            ("--service-account-signing-key-file", "accounts.key"),
            ("--audit-policy-file", "audit.yaml"),
            ("--audit-log-path", "audit.log"),
        ];
        for (flag, name) in keys {
            command.arg(flag).arg(file(name));
        }
        let address = self.addresses.api_server;
        command
            .args(["--etcd-servers", &format!("http://{}", self.addresses.etcd)])
            .args(["--bind-address", &address.ip().to_string()])
            .args(["--secure-port", &address.port().to_string()])
            .args(["--advertise-address", &address.ip().to_string()])
            .args(["--authorization-mode", "Node,RBAC"])
            .args(["--service-account-issuer", ISSUER])
            .args(["--service-cluster-ip-range", "10.96.0.0/16"])
            // It would publish a loopback address as the endpoint of Service `kubernetes`, which its own rules forbid.
            .args(["--endpoint-reconciler-type", "none"])
            // One file, however long: marks are places in it.
            .arg("--audit-log-maxsize=100000")
            .args(["--allow-privileged", "--shutdown-delay-duration=0s"]);
    }

    fn process(&self, name: &str, configure: impl FnOnce(&mut Command)) -> Process {
        Process::start(name, self.programs.join(name), configure)
    }
}

/// An end before its time is a failure at once.
fn alive(process: &mut Process) {
    if let Some(status) = process.exited() {
        panic!("it ended with {status}:\n{}", process.log());
    }
}
