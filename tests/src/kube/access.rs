//! Ways into a control plane: as whom, by which client.

use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::certificates;
use crate::certificates::Authority;

/// One user's way into a control plane.
#[derive(Clone)]
pub struct Access {
    user: String,
    kubeconfig: PathBuf,
    config: Config,
    /// Kept to write the next one.
    content: Value,
    programs: PathBuf,
    folder: PathBuf,
}

/// A namespace, and the administrator's way into it; clients and kubectl use it where they name none.
pub struct Namespace {
    access: Access,
    name: String,
}

impl Access {
    pub(super) async fn by_certificate(
        authority: &Authority,
        server: &str,
        programs: &Path,
        folder: &Path,
        user: &str,
        group: &str,
    ) -> Self {
        let encode = |text: &str| base64_simd::STANDARD.encode_to_string(text);
        let identity = certificates::client(authority, user, group);
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {
                "server": server, "certificate-authority-data": encode(&authority.certificate()),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": encode(&identity.certificate),
                "client-key-data": encode(&identity.key),
            }}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "current-context": "tests",
        });
        Self::write(user, content, programs, folder).await
    }

    /// Who it is, as audit and RBAC see it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What `kube::Client` is made of.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// A new client, of the runtime that asks for it.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn client(&self) -> Client {
        Client::try_from(self.config()).expect("our own kubeconfig is valid")
    }

    /// Runs kubectl; what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Runs kubectl; what it printed.
    ///
    /// # Errors
    /// What it printed as error, when it fails.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(arguments, "")
    }

    /// `kubectl apply -f -`.
    ///
    /// # Panics
    /// When it fails.
    pub fn apply(&self, manifest: &str) -> String {
        self.try_apply(manifest)
            .unwrap_or_else(|error| panic!("kubectl apply: {error}\n{manifest}"))
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// What it printed as error, when it fails.
    pub fn try_apply(&self, manifest: &str) -> Result<String, String> {
        self.run(&["apply", "-f", "-"], manifest)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(self.programs.join("kubectl"))
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            // Its cache of what the server has.
            .env("HOME", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is there");
        let mut stdin = child.stdin.take().expect("it was piped");
        let input = input.to_owned();
        // From another thread, so that neither waits for the other; kubectl may end without reading.
        std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child
            .wait_with_output()
            .expect("our own child can be waited");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// The same user in a namespace.
    pub(super) async fn within(&self, namespace: &str) -> Self {
        let mut content = self.content.clone();
        content["contexts"][0]["context"]["namespace"] = namespace.into();
        Self::write(&self.user, content, &self.programs, &self.folder).await
    }

    /// The ServiceAccount of that name in the namespace, with a token of an hour.
    async fn by_token(&self, namespace: &str, account: &str) -> Self {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: Vec::new(),
                bound_object_ref: None,
                expiration_seconds: Some(3600),
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .unwrap_or_else(|error| panic!("a token for {namespace}/{account}: {error}"));
        let token = answer.status.expect("a token was asked for").token;
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let mut content = self.content.clone();
        content["users"] = json!([{"name": user, "user": {"token": token}}]);
        content["contexts"][0]["context"] =
            json!({"cluster": "tests", "user": user, "namespace": namespace});
        Self::write(&user, content, &self.programs, &self.folder).await
    }

    async fn write(user: &str, content: Value, programs: &Path, folder: &Path) -> Self {
        let number = fastrand::u64(..);
        let kubeconfig = folder.join(format!("kubeconfig-{number:016x}"));
        // JSON is YAML.
        std::fs::write(&kubeconfig, content.to_string()).expect("a file in a folder of our own");
        let parsed = Kubeconfig::read_from(&kubeconfig).expect("our own kubeconfig is valid");
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .expect("our own kubeconfig is valid");
        Self {
            user: user.to_owned(),
            kubeconfig,
            config,
            content,
            programs: programs.to_owned(),
            folder: folder.to_owned(),
        }
    }
}

impl Namespace {
    pub(super) fn new(access: Access, name: String) -> Self {
        Self { access, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An API of it, as administrator.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), &self.name)
    }

    /// The way in of one of its ServiceAccounts, which is made if need be. It may do what RBAC gives it, so nothing yet.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn account(&self, name: &str) -> Access {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(name.to_owned());
        match self.api().create(&PostParams::default(), &account).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("ServiceAccount {name}: {error}"),
        }
        self.access.by_token(&self.name, name).await
    }
}

impl Deref for Namespace {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}
