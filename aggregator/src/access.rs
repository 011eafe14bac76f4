//! Who may do what: the one place that says who a caller is, and that grants or refuses. What is granted is a right on an
//! app; what the rights mean is in [`Right`].
//!
//! `layer` puts a [`Caller`] into every request, and each RPC asks it. A request without one is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::engine::board::BoardReader;

pub mod audit;
pub mod kubernetes;
pub mod layer;
mod right;
pub mod tokens;

pub use kubernetes::Kubernetes;
pub use right::{Right, Role};
pub use tokens::Tokens;

/// The longest token that is looked at; those of Kubernetes have about 1 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// How often it is asked again whether a long stream may go on.
const AGAIN_EVERY: Duration = Duration::from_secs(20);
/// Questions in a row that may stay without an answer before such a stream ends: with the pauses between them, a minute.
const UNANSWERED_MAX: u32 = 3;

/// How callers are told apart. Clones are the same.
#[derive(Debug, Clone)]
pub struct Access(Mode);

#[derive(Debug, Clone)]
enum Mode {
    /// Everybody may do everything: for loopback only.
    Open,
    /// By a file of tokens.
    Tokens(Tokens),
    /// By Kubernetes.
    Kubernetes(Kubernetes),
}

/// One who asks, known by now.
#[derive(Debug, Clone)]
pub struct Caller(Who);

#[derive(Debug, Clone)]
enum Who {
    /// Without an auth mode.
    Anyone,
    /// The bearer of a token of the file.
    Bearer(tokens::Bearer),
    /// A user of Kubernetes.
    Account(kubernetes::Account),
}

/// Apps on which something is granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Apps {
    /// Every app, also those to come.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Apps {
    /// Whether this app is among them.
    pub fn contains(&self, app: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(app),
        }
    }

    /// No app.
    pub fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Only(names) if names.is_empty())
    }
}

/// What a stream is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// One app; empty is each that may be seen.
    pub app: String,
    /// Nothing of it but this worker; empty is all.
    pub worker: String,
}

/// What one request may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sight {
    apps: Apps,
    payload: Apps,
}

impl Sight {
    /// Whether this app may be seen at all.
    pub fn sees(&self, app: &str) -> bool {
        self.apps.contains(app)
    }

    /// Whether what its tasks carry may be seen too: arguments, results, exceptions.
    pub fn sees_payload(&self, app: &str) -> bool {
        self.apps.contains(app) && self.payload.contains(app)
    }

    /// Tells sights apart, so that a stream is not resumed with another one. It guards against mistakes, not attack.
    pub fn fingerprint(&self) -> u64 {
        crate::api::page::fingerprint(self)
    }

    /// The apps, for a read of the database; `None` is all.
    pub fn only(&self) -> Option<&BTreeSet<String>> {
        match &self.apps {
            Apps::All => None,
            Apps::Only(names) => Some(names),
        }
    }

    /// Refuses a query by payload unless all that is seen may be read in full: which tasks match would tell what is in them.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn require_payload(&self, asked: &str) -> Result<(), Status> {
        let everywhere = match (&self.apps, &self.payload) {
            (_, Apps::All) => true,
            (Apps::All, Apps::Only(_)) => false,
            (Apps::Only(seen), Apps::Only(full)) => seen.is_subset(full),
        };
        if everywhere {
            return Ok(());
        }
        let app = (!asked.is_empty()).then_some(asked);
        let mut status = denied(Right::Payload, app);
        if asked.is_empty() {
            let message = format!(
                "{}; this query looks into arguments, results or exceptions: name an app whose payloads you may read",
                status.message()
            );
            status = Status::permission_denied(message);
        }
        Err(status)
    }
}

impl Access {
    /// Everybody may do everything.
    pub fn open() -> Self {
        Self(Mode::Open)
    }

    /// Who bears a token of the file may do what the file says.
    pub fn tokens(tokens: Tokens) -> Self {
        Self(Mode::Tokens(tokens))
    }

    /// Who is a user of Kubernetes may do what its roles say.
    pub fn kubernetes(kubernetes: Kubernetes) -> Self {
        Self(Mode::Kubernetes(kubernetes))
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        matches!(self.0, Mode::Open)
    }

    /// Who bears this token.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, in the same words whatever is wrong; `UNAVAILABLE` when it cannot be found out.
    pub async fn authenticate(&self, token: Option<&str>) -> Result<Caller, Status> {
        let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX);
        match &self.0 {
            Mode::Open => Ok(Caller(Who::Anyone)),
            Mode::Tokens(tokens) => {
                let bearer = token.and_then(|token| tokens.bearer(token));
                let bearer = bearer.ok_or_else(unauthenticated)?;
                Ok(Caller(Who::Bearer(bearer)))
            }
            Mode::Kubernetes(kubernetes) => {
                let token = token.ok_or_else(unauthenticated)?;
                Ok(Caller(Who::Account(kubernetes.account(token).await?)))
            }
        }
    }
}

impl Caller {
    /// What runs in this process.
    pub fn ourselves() -> Self {
        Self(Who::Anyone)
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when nobody was put into it: then the way here goes around the layer, and is closed.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>();
        caller.cloned().ok_or_else(unauthenticated)
    }

    /// Their name, for records; empty without an auth mode.
    pub fn principal(&self) -> &str {
        match &self.0 {
            Who::Anyone => "",
            Who::Bearer(bearer) => bearer.name(),
            Who::Account(account) => account.name(),
        }
    }

    /// The same caller as of now: long streams ask again.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when the token is none any more, `UNAVAILABLE` when that cannot be found out.
    pub async fn again(&self) -> Result<Self, Status> {
        match &self.0 {
            Who::Anyone => Ok(self.clone()),
            Who::Bearer(bearer) => {
                let bearer = bearer.again().ok_or_else(unauthenticated)?;
                Ok(Self(Who::Bearer(bearer)))
            }
            Who::Account(account) => Ok(Self(Who::Account(account.again().await?))),
        }
    }

    /// Whether they have a right on an app; `None` is on all apps.
    ///
    /// # Errors
    /// `UNAVAILABLE` when that cannot be found out.
    pub async fn has(&self, right: Right, app: Option<&str>) -> Result<bool, Status> {
        Ok(match &self.0 {
            Who::Anyone => true,
            Who::Bearer(bearer) => match (bearer.apps(right), app) {
                (Apps::All, _) => true,
                (Apps::Only(_), None) => false,
                (apps @ Apps::Only(_), Some(app)) => apps.contains(app),
            },
            Who::Account(account) => account.has(right, app).await?,
        })
    }

    /// Refuses who lacks a right on an app; `None` is on all apps.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` with the right and the app that were asked for, `UNAVAILABLE` when it cannot be found out.
    pub async fn require(&self, right: Right, app: Option<&str>) -> Result<(), Status> {
        if self.has(right, app).await? {
            Ok(())
        } else {
            Err(denied(right, app))
        }
    }

    /// The apps that a request is about: the one asked for, or each on which the caller has the right.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when there is none, `UNAVAILABLE` when it cannot be found out.
    pub async fn sight(
        &self,
        right: Right,
        asked: &str,
        board: &BoardReader,
    ) -> Result<Sight, Status> {
        if matches!(self.0, Who::Anyone) {
            return Ok(Sight {
                apps: Apps::All,
                payload: Apps::All,
            });
        }
        if asked.is_empty() {
            let apps = self.all(right, board).await?;
            if apps.is_empty() {
                return Err(denied(right, None));
            }
            let payload = self.all(Right::Payload, board).await?;
            return Ok(Sight { apps, payload });
        }
        self.require(right, Some(asked)).await?;
        let apps = Apps::Only(BTreeSet::from([asked.to_owned()]));
        let payload = if self.has(Right::Payload, Some(asked)).await? {
            apps.clone()
        } else {
            Apps::none()
        };
        Ok(Sight { apps, payload })
    }

    /// What a stream may see. A pod may see the worker that runs in it; anything else is for who may read.
    ///
    /// # Errors
    /// As [`Caller::sight`].
    pub async fn sight_of(&self, asked: &Asked, board: &BoardReader) -> Result<Sight, Status> {
        if let Who::Account(account) = &self.0
            && account.runs(&asked.app, &asked.worker)
        {
            return Ok(Sight {
                apps: Apps::Only(BTreeSet::from([asked.app.clone()])),
                payload: Apps::none(),
            });
        }
        self.sight(Right::Read, &asked.app, board).await
    }

    /// Ends when the right on an app is gone, or cannot be found out for a minute, with what to tell the caller.
    pub async fn until_refused(&self, right: Right, app: &str) -> Status {
        let mut unanswered = 0;
        loop {
            self.pause().await;
            let asked = async { self.again().await?.require(right, Some(app)).await };
            if let Some(status) = over(asked.await.err(), &mut unanswered) {
                return status;
            }
        }
    }

    /// Ends when not the same may be read any more, with what to tell the caller: `UNAVAILABLE` when it may be another part,
    /// so that a client asks anew.
    pub async fn until_changed(&self, sight: &Sight, asked: &Asked, board: &BoardReader) -> Status {
        let mut unanswered = 0;
        loop {
            self.pause().await;
            let now = async { self.again().await?.sight_of(asked, board).await };
            let refused = match now.await {
                Ok(now) if now == *sight => None,
                Ok(_) => return Status::unavailable("what you may see has changed; ask again"),
                Err(status) => Some(status),
            };
            if let Some(status) = over(refused, &mut unanswered) {
                return status;
            }
        }
    }

    async fn pause(&self) {
        match &self.0 {
            // Nothing can change.
            Who::Anyone => std::future::pending().await,
            Who::Bearer(_) | Who::Account(_) => tokio::time::sleep(AGAIN_EVERY).await,
        }
    }

    /// All apps on which they have a right.
    async fn all(&self, right: Right, board: &BoardReader) -> Result<Apps, Status> {
        Ok(match &self.0 {
            Who::Anyone => Apps::All,
            Who::Bearer(bearer) => bearer.apps(right),
            Who::Account(account) => account.apps(right, board).await?,
        })
    }
}

/// Whether a refusal ends a stream: one that says that nothing is known does so only in the end.
fn over(refused: Option<Status>, unanswered: &mut u32) -> Option<Status> {
    match refused {
        None => *unanswered = 0,
        Some(status) if status.code() == Code::Unavailable && *unanswered + 1 < UNANSWERED_MAX => {
            *unanswered += 1;
        }
        Some(status) => return Some(status),
    }
    None
}

/// The same for a token that is missing, unknown, or was taken away: who tries tokens learns nothing.
fn unauthenticated() -> Status {
    Status::unauthenticated("a valid bearer token is needed (`authorization: Bearer …`)")
}

fn denied(right: Right, app: Option<&str>) -> Status {
    let (right, app) = (right.as_str(), app.unwrap_or("*"));
    let message = match app {
        "*" => format!("the right {right:?} is needed"),
        app => format!("the right {right:?} on app {app:?} is needed"),
    };
    let metadata = [("right", right), ("app", app)];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let details = ErrorDetails::with_error_info("RIGHT_MISSING", "celeriac.dev", metadata);
    Status::with_error_details(Code::PermissionDenied, message, details)
}

#[cfg(test)]
mod tests;
