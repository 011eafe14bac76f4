//! What the API server was asked, from its audit log.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// What is written down. Bodies of writes, but none of a Secret or a token; not the constant reading of Kubernetes' own
/// parts, and not its leases.
pub(super) const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:serviceaccounts:kube-system", "system:nodes"]
  verbs: [get, list, watch]
- level: None
  namespaces: ["kube-system", "kube-node-lease"]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: None
  nonResourceURLs: ["/*"]
- level: Metadata
  resources:
  - resources: [secrets, serviceaccounts/token]
  - {group: authentication.k8s.io, resources: [tokenreviews]}
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
"#;

/// The audit log of a control plane. A call is in it when it has been answered, which may be a moment after the answer
/// was read.
pub struct AuditLog {
    path: PathBuf,
}

/// A place in the log.
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

/// One call, as it ended. A watch is there once when it begins and once when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Who asked: `administrator`, `system:serviceaccount:NAMESPACE:NAME`, …
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group, empty for the core's.
    pub group: String,
    /// The plural, with its subresource: `deployments`, `deployments/scale`.
    pub resource: String,
    /// Empty for what is in no namespace, and for lists over all.
    pub namespace: String,
    /// Empty for lists, watches and creations.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// The client's name for itself.
    pub agent: String,
    /// The body of a write that the client sent, else null; always null for Secrets and tokens.
    pub body: Value,
    /// When it came, RFC 3339 with microseconds.
    pub at: String,
}

impl Call {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl AuditLog {
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Its end now.
    pub fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.path).map_or(0, |file| file.len()))
    }

    /// Every call since the control plane was started, in the order of their ends.
    pub fn calls(&self) -> Vec<Call> {
        self.calls_since(Mark(0))
    }

    /// Every call that ended since then.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn calls_since(&self, mark: Mark) -> Vec<Call> {
        let mut text = Vec::new();
        std::fs::File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(mark.0))?;
                file.read_to_end(&mut text)
            })
            .unwrap_or_else(|error| panic!("the audit log cannot be read: {error}"));
        // A last line that is being written is for the next look.
        let whole = text.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        text[..whole]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(call)
            .collect()
    }
}

fn call(line: &[u8]) -> Call {
    let event: Event =
        serde_json::from_slice(line).unwrap_or_else(|error| panic!("not an audit event: {error}"));
    let target = event.object_ref.unwrap_or_default();
    let resource = match target.subresource {
        Some(subresource) => format!("{}/{subresource}", target.resource),
        None => target.resource,
    };
    Call {
        user: event.user.username,
        verb: event.verb,
        group: target.api_group,
        resource,
        namespace: target.namespace,
        name: target.name,
        code: event.response_status.unwrap_or_default().code,
        agent: event.user_agent,
        body: event.request_object,
        at: event.request_received_timestamp,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    object_ref: Option<Target>,
    response_status: Option<Status>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    request_object: Value,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Target {
    resource: String,
    subresource: Option<String>,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: u16,
}
