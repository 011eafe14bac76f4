//! Why a reconcile failed: a few categories, of which condition, Event, metric and the wait before the next try follow.

use std::time::Duration;

/// What the API server says of the path of a kind that it does not know.
const PATH_UNKNOWN: [&str; 2] = [
    "404 page not found",
    "the server could not find the requested resource",
];

/// What the operator was doing to which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// `read`, `apply`, `delete`, …
    pub verb: &'static str,
    /// Kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {} {} {}", self.verb, self.kind, self.name)
    }
}

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object of a name that the operator needs is somebody else's.
    #[error("{kind} {name} is there already and belongs to something else: rename one of the two")]
    NameTaken {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A Secret, or a key of it, is not there.
    #[error("Secret {name} has no key {key}, or is not there")]
    SecretMissing {
        /// Name of the Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// Several servers are asked for where only one can be made.
    #[error(
        "spec.replicas {replicas} is for RabbitMQ's own cluster operator, which was not there when this broker was looked at: \
         install it (and make the broker anew, if it has run before), or make the broker anew with replicas 1"
    )]
    OneServer {
        /// How many are asked for.
        replicas: i32,
    },
    /// A kind that was there when the object was made is gone.
    #[error(
        "{deed}: the API server does not know the kind {} any more: install again what brought it, or delete this object \
         and make it again", deed.kind
    )]
    KindGone {
        /// What was tried.
        deed: Deed,
    },
    /// What the user wrote cannot be built; mostly a podTemplate.
    #[error("{deed}: {message}")]
    Refused {
        /// What was tried.
        deed: Deed,
        /// The API server's words.
        message: String,
    },
    /// The operator's role does not allow it.
    #[error("{deed}: {message}")]
    Forbidden {
        /// What was tried.
        deed: Deed,
        /// The API server's words.
        message: String,
    },
    /// The namespace is being deleted: nothing can be made in it.
    #[error("the namespace is being deleted")]
    Terminating,
    /// Another writer came in between.
    #[error("{deed}: {message}")]
    Conflict {
        /// What was tried.
        deed: Deed,
        /// The API server's words.
        message: String,
    },
    /// The API server does not answer, or not well.
    #[error("{deed}")]
    Unavailable {
        /// What was tried.
        deed: Deed,
        /// The client's words, or the server's.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// An error of the client, put into its category.
    pub fn of(deed: Deed, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unavailable {
                deed,
                source: Box::new(error),
            };
        };
        let message = status.message.clone();
        match status.code {
            403 if message.contains("is being terminated") => Self::Terminating,
            401 | 403 => Self::Forbidden { deed, message },
            409 => Self::Conflict { deed, message },
            // What is not there has another message: this is of a path that leads nowhere.
            404 if PATH_UNKNOWN.contains(&message.trim()) => Self::KindGone { deed },
            400 | 413 | 422 => Self::Refused { deed, message },
            // Server-side apply calls a field that it does not know an error of its own.
            500 if message.starts_with("failed to create typed patch") => {
                Self::Refused { deed, message }
            }
            _ => Self::Unavailable {
                deed,
                source: message.into(),
            },
        }
    }

    /// The category, as conditions, Events and metrics name it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } => "NameTaken",
            Self::SecretMissing { .. } => "SecretMissing",
            Self::OneServer { .. } => "OneServer",
            Self::KindGone { .. } => "KindGone",
            Self::Refused { .. } => "Refused",
            Self::Forbidden { .. } => "Forbidden",
            Self::Terminating => "NamespaceTerminating",
            Self::Conflict { .. } => "Conflict",
            Self::Unavailable { .. } => "ApiServerUnavailable",
        }
    }

    /// When to try again after so many failures in a row. What only a person can mend is tried seldom: their change is
    /// seen at once.
    pub fn wait(&self, failures: u32) -> Duration {
        let doubled = |first: u64, most: u64| {
            Duration::from_secs(first.saturating_mul(1 << failures.min(10)).min(most))
        };
        match self {
            // A Secret is not watched, so it is looked for.
            Self::SecretMissing { .. } => doubled(1, 15),
            Self::Conflict { .. } => doubled(1, 30),
            Self::Unavailable { .. } => doubled(1, 60),
            Self::NameTaken { .. } | Self::Forbidden { .. } | Self::KindGone { .. } => {
                doubled(5, 120)
            }
            // Where the kind comes is not watched.
            Self::OneServer { .. } => doubled(10, 60),
            Self::Refused { .. } | Self::Terminating => doubled(10, 600),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn answers_of_the_api_server_have_their_category() {
        for (code, message, reason) in [
            (403, "deployments.apps is forbidden", "Forbidden"),
            (
                403,
                "because it is being terminated",
                "NamespaceTerminating",
            ),
            (409, "the object has been modified", "Conflict"),
            (404, "404 page not found\n", "KindGone"),
            (
                404,
                "deployments.apps \"shop\" not found",
                "ApiServerUnavailable",
            ),
            (422, "Deployment is invalid", "Refused"),
            (500, "failed to create typed patch object", "Refused"),
            (503, "etcd leader changed", "ApiServerUnavailable"),
        ] {
            let status = Status::failure(message, "").with_code(code);
            let deed = Deed {
                verb: "apply",
                kind: "Deployment",
                name: "shop".to_owned(),
            };
            let error = Error::of(deed, kube::Error::Api(status.boxed()));
            assert_eq!(error.reason(), reason, "{code} {message}");
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let missing = Error::SecretMissing {
            name: "s".to_owned(),
            key: "k".to_owned(),
        };
        let seconds: Vec<u64> = (0..6)
            .map(|failures| missing.wait(failures).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 15, 15]);
        assert_eq!(missing.wait(u32::MAX).as_secs(), 15);
    }
}
