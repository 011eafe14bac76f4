//! The mode `kubernetes`: who bears a token is asked of the API server (`TokenReview`, for our audience and no other), and so
//! is what they may do (`SubjectAccessReview`), so that rights are given by Kubernetes' own roles.
//!
//! The resources exist only in roles, in the group `inspect.celeriac.dev`, named and in the namespace as the app's `Celery`:
//!
//! | right | verb | resource |
//! |---|---|---|
//! | read | get | `tasks` |
//! | payload | get | `payloads` |
//! | inspect, tune, terminate | the same | `control` |
//! | ingest | create | `ingest` |
//! | metrics | get | the path `/metrics`, as of everything that is scraped |
//!
//! The account that the operator makes for the inspector of an app, `NAME-inspector` in its namespace, may ingest of that app
//! without a role. A pod may see the worker of its own name in an app of its namespace, and nothing else, without one: its
//! token says which pod it was made for. Right on all apps is the right in all namespaces. An app whose name is not `namespace/name` has only such.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tonic::Status;

use super::{Apps, Right, unauthenticated};
use crate::engine::board::BoardReader;
use crate::reread::{self, Digest};

mod api;
mod cache;

pub use api::{Api, ApiError};
use cache::Cache;

/// The group of our resources, which no server has: they stand in roles only.
const GROUP: &str = "inspect.celeriac.dev";
/// For how long what is granted is believed: Kubernetes' own webhooks believe for minutes, our streams promise a minute.
const GRANTED_FOR: Duration = Duration::from_secs(30);
/// For how long a refusal is: a person who was just given a right tries again at once.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Answers remembered, of either kind: some hundred bytes each.
const REMEMBERED_MAX: usize = 4_096;
/// Questions at a time: the API server has others to serve.
const QUESTIONS_MAX: usize = 16;
/// Apps asked about one by one, of a caller who may not see all: each is a question.
const APPS_MAX: usize = 1_000;

/// Answers of the API server. Clones are the same.
#[derive(Clone)]
pub struct Kubernetes(Arc<Inner>);

struct Inner {
    api: Api,
    audience: String,
    users: Mutex<Cache<Digest, Option<Arc<User>>>>,
    grants: Mutex<Cache<Question, bool>>,
    questions: Semaphore,
}

/// Whether a user has a right on an app, or on all.
type Question = (Digest, Right, Option<Box<str>>);

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubernetes({:?})", self.0.api)
    }
}

/// Whom a token is of, in Kubernetes' words.
#[derive(Debug)]
struct User {
    /// `username`, `uid`, `groups` and `extra`, as the one review gave them and the other takes them.
    facts: Value,
    /// Their digest.
    digest: Digest,
}

impl User {
    fn name(&self) -> &str {
        self.facts["username"].as_str().unwrap_or_default()
    }

    /// Whether it is the service account of the inspector of this app, as the operator names it.
    fn inspects(&self, app: &str) -> bool {
        let Some((namespace, name)) = namespaced(app) else {
            return false;
        };
        let group = format!("system:serviceaccounts:{namespace}");
        let groups = self.facts["groups"].as_array();
        self.name() == format!("system:serviceaccount:{namespace}:{name}-inspector")
            && groups.is_some_and(|groups| groups.iter().any(|one| *one == group))
    }

    /// Whether its token was made for the pod that this worker of this app runs in: the operator names workers by pods. Who
    /// else makes tokens for that pod has the right to.
    fn runs(&self, app: &str, worker: &str) -> bool {
        let (Some((namespace, _)), Some((_, host))) = (namespaced(app), worker.split_once('@'))
        else {
            return false;
        };
        let account = format!("system:serviceaccount:{namespace}:");
        let pods = self.facts["extra"]["authentication.kubernetes.io/pod-name"].as_array();
        self.name().starts_with(&account)
            && pods.is_some_and(|pods| matches!(pods.as_slice(), [pod] if *pod == host))
    }
}

/// A user of Kubernetes who has shown a token.
#[derive(Clone)]
pub struct Account {
    user: Arc<User>,
    token: Arc<str>,
    kubernetes: Kubernetes,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.user.name())
    }
}

impl Account {
    /// The user's name, such as `system:serviceaccount:shop:reader`.
    pub fn name(&self) -> &str {
        self.user.name()
    }

    /// Whether this is the token of the pod that this worker of this app runs in.
    pub fn runs(&self, app: &str, worker: &str) -> bool {
        self.user.runs(app, worker)
    }

    /// The same token's account as of now.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `UNAVAILABLE`.
    pub async fn again(&self) -> Result<Self, Status> {
        self.kubernetes.account(&self.token).await
    }

    /// Whether they have a right on an app; `None` is on all.
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub async fn has(&self, right: Right, app: Option<&str>) -> Result<bool, Status> {
        let app = app.filter(|name| namespaced(name).is_some());
        if right == Right::Ingest && app.is_some_and(|app| self.user.inspects(app)) {
            return Ok(true);
        }
        let inner = &self.kubernetes.0;
        let key = (self.user.digest, right, app.map(Box::from));
        if let Some(known) = inner.grants.lock().get(&key, Instant::now()) {
            return Ok(known);
        }
        let _permit = inner.question().await?;
        let spec = access_spec(&self.user.facts, right, app);
        let answer = inner.api.review(&ACCESS, spec).await;
        let answer = answer.map_err(|error| unavailable(&error))?;
        let granted = answer["allowed"] == true;
        let until = Instant::now() + if granted { GRANTED_FOR } else { REFUSED_FOR };
        inner.grants.lock().put(key, granted, until);
        Ok(granted)
    }

    /// All apps of the board on which they have a right, or [`Apps::All`].
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub async fn apps(&self, right: Right, board: &BoardReader) -> Result<Apps, Status> {
        if self.has(right, None).await? {
            return Ok(Apps::All);
        }
        let names: Vec<String> = {
            let board = board.read();
            let names = board.apps.keys().filter(|name| namespaced(name).is_some());
            names.take(APPS_MAX).map(ToString::to_string).collect()
        };
        let mut granted = std::collections::BTreeSet::new();
        for name in names {
            if self.has(right, Some(&name)).await? {
                granted.insert(name);
            }
        }
        Ok(Apps::Only(granted))
    }
}

impl Kubernetes {
    /// Asks this API server about tokens for this audience.
    pub fn new(api: Api, audience: String) -> Self {
        Self(Arc::new(Inner {
            api,
            audience,
            users: Mutex::new(Cache::new(REMEMBERED_MAX)),
            grants: Mutex::new(Cache::new(REMEMBERED_MAX)),
            questions: Semaphore::new(QUESTIONS_MAX),
        }))
    }

    /// Whom this token is of.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when it is nobody's, or not for our audience; `UNAVAILABLE` when that cannot be found out.
    pub async fn account(&self, token: &str) -> Result<Account, Status> {
        let inner = &self.0;
        let key = reread::digest(&[token.as_bytes()]);
        let known = inner.users.lock().get(&key, Instant::now());
        let user = match known {
            Some(user) => user,
            // Tokens for an audience are JWTs. What is none is not worth a question, nor a place among the answers.
            None if token.split('.').count() != 3 => None,
            None => inner.ask(token, key).await?,
        };
        let user = user.ok_or_else(unauthenticated)?;
        Ok(Account {
            user,
            token: token.into(),
            kubernetes: self.clone(),
        })
    }
}

impl Inner {
    async fn ask(&self, token: &str, key: Digest) -> Result<Option<Arc<User>>, Status> {
        let _permit = self.question().await?;
        // Others may have waited with the same question.
        if let Some(known) = self.users.lock().get(&key, Instant::now()) {
            return Ok(known);
        }
        let spec = json!({"token": token, "audiences": [self.audience]});
        let answer = self.api.review(&TOKEN, spec).await;
        let mut answer = answer.map_err(|error| unavailable(&error))?;
        let user = is_ours(&answer, &self.audience).then(|| {
            let facts = answer["user"].take();
            let digest = reread::digest(&[facts.to_string().as_bytes()]);
            Arc::new(User { facts, digest })
        });
        let lasts = if user.is_some() {
            GRANTED_FOR
        } else {
            REFUSED_FOR
        };
        let until = Instant::now() + lasts;
        self.users.lock().put(key, user.clone(), until);
        Ok(user)
    }

    async fn question(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Status> {
        let permit = self.questions.acquire().await;
        permit.map_err(|_never_closed| Status::unavailable("access cannot be checked now"))
    }
}

/// Whether a token is somebody's and for us. A server that knows no audiences says none, which is not ours.
fn is_ours(answer: &Value, audience: &str) -> bool {
    let audiences = answer["audiences"].as_array();
    answer["authenticated"] == true
        && answer["user"]["username"].is_string()
        && audiences.is_some_and(|all| all.iter().any(|one| one == audience))
}

/// A kind of review.
struct Review {
    path: &'static str,
    api_version: &'static str,
    kind: &'static str,
}

const TOKEN: Review = Review {
    path: "/apis/authentication.k8s.io/v1/tokenreviews",
    api_version: "authentication.k8s.io/v1",
    kind: "TokenReview",
};
const ACCESS: Review = Review {
    path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    api_version: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
};

fn access_spec(user: &Value, right: Right, app: Option<&str>) -> Value {
    let mut spec = json!({
        "user": user["username"],
        "uid": user["uid"],
        "groups": user["groups"],
        "extra": user["extra"],
    });
    if right == Right::Metrics {
        spec["nonResourceAttributes"] = json!({"path": "/metrics", "verb": "get"});
        return spec;
    }
    let (verb, resource) = match right {
        Right::Read => ("get", "tasks"),
        Right::Payload => ("get", "payloads"),
        Right::Ingest => ("create", "ingest"),
        Right::Inspect | Right::Tune | Right::Terminate | Right::Metrics => {
            (right.as_str(), "control")
        }
    };
    let (namespace, name) = app.and_then(namespaced).unwrap_or_default();
    spec["resourceAttributes"] = json!({
        "group": GROUP, "verb": verb, "resource": resource, "namespace": namespace, "name": name,
    });
    spec
}

/// Namespace and name of the `Celery` that an app is of. Both must be names of Kubernetes: an empty namespace in a review
/// would mean all of them.
fn namespaced(app: &str) -> Option<(&str, &str)> {
    let (namespace, name) = app.split_once('/')?;
    let is_name = |text: &str| {
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    (is_name(namespace) && is_name(name)).then_some((namespace, name))
}

/// Nothing is known, so nothing is granted; the log has the reason.
fn unavailable(error: &ApiError) -> Status {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "access cannot be checked"
    );
    Status::unavailable("access cannot be checked now: Kubernetes does not answer")
}

#[cfg(test)]
mod tests;
