//! The aggregator of a cluster: its Service, its authority, and a token for it.

use std::ffi::OsString;

use serde_json::Value;

use super::kubectl::{Kubectl, KubectlError};

/// What the chart labels the aggregator's Service with.
const LABELS: &str = "app.kubernetes.io/name=celeriac,app.kubernetes.io/component=aggregator";

/// The Service's annotation that says what a token has to be made for.
const AUDIENCE: &str = "celeriac.dev/audience";

/// The end of the Service's name; the ServiceAccounts' have others in its place.
const SUFFIX: &str = "-aggregator";

/// How long a token is good. A view that is open for longer is closed then.
const DURATION: &str = "--duration=1h";

/// What is to be done, which decides whose token it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Look,
    Control,
}

/// Why there is no aggregator to ask.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    #[error(transparent)]
    Kubectl(#[from] KubectlError),
    #[error(
        "no aggregator of Celeriac is in the namespace {namespace}; --celeriac-namespace names another"
    )]
    None { namespace: String },
    #[error(
        "several aggregators of Celeriac are in the namespace {namespace}: {}; --celeriac-namespace names another",
        names.join(", ")
    )]
    Several {
        namespace: String,
        names: Vec<String>,
    },
}

/// Where it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aggregator {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: u16,
    audience: String,
}

impl Way {
    /// What a command of `celeriac` needs.
    pub(super) fn of(words: &[OsString]) -> Self {
        match words.first().and_then(|word| word.to_str()) {
            Some("control" | "inspect") => Self::Control,
            _ => Self::Look,
        }
    }
}

impl Aggregator {
    pub(super) async fn find(kubectl: &Kubectl, namespace: &str) -> Result<Self, FindError> {
        let words = ["get", "services", "-n", namespace, "-l", LABELS];
        Self::of(namespace, &kubectl.json(&words).await?)
    }

    /// The one of a list of Services.
    fn of(namespace: &str, list: &Value) -> Result<Self, FindError> {
        let namespace = namespace.to_owned();
        let services = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        let name = |service: &Value| service["metadata"]["name"].as_str().map(str::to_owned);
        let service = match services {
            [] => return Err(FindError::None { namespace }),
            [service] => service,
            several => {
                let names = several.iter().filter_map(name).collect();
                return Err(FindError::Several { namespace, names });
            }
        };
        let port = service["spec"]["ports"][0]["port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok());
        let audience = service["metadata"]["annotations"][AUDIENCE].as_str();
        match (name(service), port) {
            (Some(name), Some(port)) => Ok(Self {
                namespace,
                name,
                port,
                audience: audience.unwrap_or("celeriac").to_owned(),
            }),
            _ => Err(FindError::None { namespace }),
        }
    }

    /// What its certificate is for.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// The ServiceAccount that may do this.
    pub(super) fn account(&self, way: Way) -> String {
        let begin = self.name.strip_suffix(SUFFIX).unwrap_or(&self.name);
        let end = match way {
            Way::Look => "reader",
            Way::Control => "controller",
        };
        format!("{begin}-{end}")
    }

    /// A token of a ServiceAccount, which the aggregator takes and nobody else does.
    pub(super) async fn token(
        &self,
        kubectl: &Kubectl,
        account: &str,
    ) -> Result<String, KubectlError> {
        let audience = format!("--audience={}", self.audience);
        let namespace = self.namespace.as_str();
        let words = [
            "create", "token", account, "-n", namespace, &audience, DURATION,
        ];
        kubectl.text(&words).await
    }

    /// The authority that signs its certificate, if the chart tells it; else one of the system's does.
    pub(super) async fn authority(&self, kubectl: &Kubectl) -> Result<Option<String>, FindError> {
        let name = format!("{}-ca", self.name);
        let words = ["get", "configmap", &name, "-n", &self.namespace];
        match kubectl.json(&words).await {
            Ok(map) => Ok(map["data"]["ca.crt"].as_str().map(str::to_owned)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str) -> Value {
        json!({
            "metadata": {"name": name, "annotations": {"celeriac.dev/audience": "ours"}},
            "spec": {"ports": [{"port": 443}]},
        })
    }

    #[test]
    fn one_service_is_the_aggregator() {
        let list = json!({"items": [service("celeriac-aggregator")]});
        let found = Aggregator::of("tools", &list).unwrap();
        assert_eq!(found.host(), "celeriac-aggregator.tools.svc");
        assert_eq!(found.account(Way::Look), "celeriac-reader");
        assert_eq!(found.account(Way::Control), "celeriac-controller");
        assert_eq!((found.port, found.audience.as_str()), (443, "ours"));
    }

    #[test]
    fn none_and_several_are_said_with_the_way_out() {
        for (names, says) in [
            (
                vec![],
                "no aggregator of Celeriac is in the namespace tools",
            ),
            (
                vec!["a-aggregator", "b-aggregator"],
                "a-aggregator, b-aggregator",
            ),
        ] {
            let items: Vec<Value> = names.into_iter().map(service).collect();
            let error = Aggregator::of("tools", &json!({"items": items}));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains("--celeriac-namespace"), "{error}");
        }
    }
}
