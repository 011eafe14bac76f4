//! Our operator on a control plane, as its own ServiceAccount under the role that is shipped.

use std::net::SocketAddr;
use std::path::PathBuf;

use base64_simd::STANDARD;
use tokio::sync::OnceCell;

use crate::kube::{Access, AuditLog, Call, ControlPlane, Mark, Namespace};
use crate::paths::{self, Profile, binary};
use crate::process::Process;
use crate::product::http_get;
use crate::redis::free_address;

/// Makes a control plane know our resources, as the documentation says: with server-side apply, which keeps no copy in an
/// annotation.
pub fn define(administrator: &Access) {
    let folder = paths::root().join("deploy/crds");
    let folder = folder.to_str().expect("a path in ASCII");
    administrator.kubectl(&["apply", "--server-side", "-f", folder]);
    administrator.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "-f",
        folder,
    ]);
}

static DEFINED: OnceCell<()> = OnceCell::const_new();

/// The control plane that the tests of a binary share, once it knows our resources.
pub async fn plane() -> &'static ControlPlane {
    let plane = ControlPlane::shared().await;
    DEFINED
        .get_or_init(async || define(plane.administrator()))
        .await;
    plane
}

/// The sample that the README shows.
///
/// # Panics
/// When it is not there.
pub fn sample() -> String {
    let path = paths::root().join("deploy/samples/shop.yaml");
    std::fs::read_to_string(path).expect("the sample is there")
}

/// Where this machine reaches the broker that the operator runs for an app, with the password that it made.
///
/// # Panics
/// When it does not run yet.
pub fn broker_url(namespace: &Namespace, app: &str) -> String {
    let of = |kind: &str, name: &str| namespace.get(kind, &format!("{app}-broker-{name}"));
    let secret = of("secret", "auth").expect("it is there");
    let pod = of("pod", "0").expect("it is there");
    let url = secret["data"]["url"].as_str().expect("it holds a URL");
    let url = STANDARD.decode_to_vec(url).expect("it is base64");
    let url = String::from_utf8(url).expect("it is a URL");
    let address = pod["status"]["podIP"].as_str().expect("it has an address");
    let (before, rest) = url.split_once('@').expect("it holds a password");
    let (_, port) = rest.split_once(':').expect("it names the port");
    format!("{before}@{address}:{port}")
}

/// An operator.
pub struct Operator {
    process: Option<Process>,
    audit: AuditLog,
    user: String,
    kubeconfig: PathBuf,
    arguments: Vec<String>,
    pages: SocketAddr,
}

impl Operator {
    /// Starts one whose Lease is in `home`, where its account is made too, with `celeriac-operator run ARGUMENTS…`.
    pub async fn start(plane: &ControlPlane, home: &Namespace, arguments: &[&str]) -> Self {
        Self::start_as(plane, home, "operator", arguments).await
    }

    /// The same as an account of that name, so that the audit log tells it from others.
    ///
    /// # Panics
    /// When its role cannot be read or applied.
    pub async fn start_as(
        plane: &ControlPlane,
        home: &Namespace,
        account: &str,
        arguments: &[&str],
    ) -> Self {
        let role = std::fs::read_to_string(paths::root().join("deploy/rbac/operator.yaml"));
        let role = role.expect("deploy/rbac is there");
        let namespace = format!("namespace: {}", home.name());
        home.apply(&role.replace("namespace: celeriac", &namespace));
        if account != "operator" {
            let role = role.replace("name: operator\n", &format!("name: {account}\n"));
            // Bindings of another name: those that are there stay.
            let role = role.replace(
                "Binding\nmetadata:\n  name: celeriac-operator",
                &format!("Binding\nmetadata:\n  name: celeriac-operator-{account}"),
            );
            home.apply(&role.replace("namespace: celeriac", &namespace));
        }
        let account = home.account(account).await;
        let mut operator = Self {
            process: None,
            audit: plane.audit(),
            user: account.user().to_owned(),
            kubeconfig: account.kubeconfig().to_owned(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            pages: free_address(),
        };
        operator.restart();
        operator
    }

    /// Starts it, again if need be.
    pub fn restart(&mut self) {
        self.kill9();
        let program = binary(Profile::Debug, "celeriac-operator");
        let process = Process::start("celeriac-operator", &program, |command| {
            command
                .env("KUBECONFIG", &self.kubeconfig)
                .arg("run")
                .args(&self.arguments)
                .args(["--listen", &self.pages.to_string()]);
        });
        self.process = Some(process);
    }

    /// Starts another in its place, as an upgrade does, with `celeriac-operator run ARGUMENTS…`.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        self.restart();
    }

    /// As a kubelet would: starts it again if it has ended by itself. Whether it had.
    pub fn keep(&mut self) -> bool {
        let ended = self
            .process
            .as_mut()
            .is_none_or(|process| process.exited().is_some());
        if ended {
            self.restart();
        }
        ended
    }

    /// Ends it with SIGKILL.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Its process.
    ///
    /// # Panics
    /// When it was killed.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was not killed")
    }

    /// Its user, as the audit log names it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The end of the audit log now.
    pub fn mark(&self) -> Mark {
        self.audit.mark()
    }

    /// What it asked of a namespace since then, its Lease aside, which it renews.
    pub fn calls(&self, mark: Mark, namespace: &Namespace) -> Vec<Call> {
        let calls = self.audit.calls_since(mark).into_iter();
        calls
            .filter(|call| call.user == self.user && call.namespace == namespace.name())
            .filter(|call| call.resource != "leases")
            .collect()
    }

    /// The same, writes only.
    pub fn writes(&self, mark: Mark, namespace: &Namespace) -> Vec<Call> {
        let calls = self.calls(mark, namespace).into_iter();
        calls.filter(Call::is_write).collect()
    }

    /// The sum of a metric over the labels that hold `part`.
    ///
    /// # Panics
    /// When it serves none.
    pub fn metric(&self, name: &str, part: &str) -> u64 {
        let (_, text) = http_get(self.pages, "/metrics").expect("it serves its metrics");
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(part))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}
