//! The inspector of an app: a Deployment of one, which is replaced, not doubled.

use serde_json::{Map, Value, json};

use super::{Desired, Kind, Owner, pod, selector};
use crate::crd::{Inspector, UrlSource};

const COMPONENT: &str = "inspector";
const PORT: u16 = 9808;

/// What the operator's own settings say of inspectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Where they report to.
    pub aggregator: String,
    /// The image of those whose app names none.
    pub image: String,
    /// The authority that signs the aggregator's certificate, PEM; those of the image when absent.
    pub authority: Option<String>,
    /// What their tokens are made for; without it they have none.
    pub audience: Option<String>,
}

/// The annotation of an inspector's pod that brings it the aggregator's authority: a file of it is made from there, so that the
/// operator needs no right to write ConfigMaps.
pub(super) const AUTHORITY_ANNOTATION: &str = "celeriac.dev/aggregator-ca";

/// Where its pod has that file, and that with its token.
const AUTHORITY_FOLDER: &str = "/etc/celeriac/aggregator";
const TOKEN_FOLDER: &str = "/var/run/secrets/celeriac.dev";

/// How long a token is good, in seconds; Kubernetes writes a new one in time.
const TOKEN_SECONDS: u32 = 3600;

/// The account whose token says which app an inspector is of.
pub fn account(owner: &Owner) -> Desired {
    let name = name(&owner.name);
    let mut account = owner.object(Kind::ServiceAccount, &name, COMPONENT, &Value::Null);
    if let Some(fields) = account.body.as_object_mut() {
        fields.remove("spec");
        // It has the token that it is given, and none for the API server.
        fields.insert("automountServiceAccountToken".to_owned(), json!(false));
    }
    account
}

/// What of a pod makes it trust the aggregator, and be known to it.
#[derive(Default)]
pub(super) struct Trust {
    pub(super) env: Vec<Value>,
    pub(super) mounts: Vec<Value>,
    pub(super) volumes: Vec<Value>,
}

impl Trust {
    /// With an authority that is in the pod's annotation, and with a token for an audience.
    pub(super) fn of(authority: bool, audience: Option<&str>) -> Self {
        let mut trust = Self::default();
        if authority {
            let field = format!("metadata.annotations['{AUTHORITY_ANNOTATION}']");
            let source = json!({"downwardAPI": {"items": [
                {"path": "ca.crt", "fieldRef": {"apiVersion": "v1", "fieldPath": field}},
            ]}});
            let file = format!("{AUTHORITY_FOLDER}/ca.crt");
            trust.add("aggregator-ca", AUTHORITY_FOLDER, &source);
            trust.env.push(set("AGGREGATOR_CA", &file));
        }
        if let Some(audience) = audience {
            let source = json!({"projected": {"sources": [{"serviceAccountToken": {
                "path": "token", "audience": audience, "expirationSeconds": TOKEN_SECONDS,
            }}]}});
            let file = format!("{TOKEN_FOLDER}/token");
            trust.add("aggregator-token", TOKEN_FOLDER, &source);
            trust.env.push(set("AGGREGATOR_TOKEN_FILE", &file));
        }
        trust
    }

    fn add(&mut self, name: &str, folder: &str, source: &Value) {
        let mut volume = source.clone();
        volume["name"] = json!(name);
        self.volumes.push(volume);
        let mount = json!({"name": name, "mountPath": folder, "readOnly": true});
        self.mounts.push(mount);
    }
}

/// A setting of the inspector.
pub(super) fn set(name: &str, value: &str) -> Value {
    json!({"name": format!("CELERIAC_INSPECTOR_{name}"), "value": value})
}

/// The inspector of an app.
pub fn object(
    owner: &Owner,
    spec: &Inspector,
    broker: &UrlSource,
    inspection: &Inspection,
    secrets: Option<&str>,
) -> Desired {
    let trust = Trust::of(
        inspection.authority.is_some(),
        inspection.audience.as_deref(),
    );
    let mut env = vec![
        pod::url("CELERIAC_INSPECTOR_BROKER", broker),
        set("APP", &format!("{}/{}", owner.namespace, owner.name)),
        set("AGGREGATOR", &inspection.aggregator),
        set("LISTEN", &format!("0.0.0.0:{PORT}")),
        set(
            "ENABLE_EVENTS",
            if spec.enable_events { "true" } else { "false" },
        ),
    ];
    env.extend(trust.env);
    env.extend(pod::variables(&spec.env));
    let probe =
        |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10});
    let mut container = json!({
        "name": "inspector",
        "image": spec.image.as_ref().unwrap_or(&inspection.image),
        "args": ["run"],
        "env": env,
        "ports": [{"name": "http", "containerPort": PORT}],
        "livenessProbe": probe("/livez"),
        "readinessProbe": probe("/readyz"),
        "securityContext": pod::locked(),
    });
    container["securityContext"]["readOnlyRootFilesystem"] = json!(true);
    if !trust.mounts.is_empty() {
        container["volumeMounts"] = json!(trust.mounts);
    }
    if let Some(fields) = container.as_object_mut() {
        pod::add_resources(fields, &spec.resources);
    }
    let mut pod = Map::new();
    pod.insert("automountServiceAccountToken".to_owned(), json!(false));
    pod.insert("enableServiceLinks".to_owned(), json!(false));
    pod.insert("securityContext".to_owned(), pod::locked_pod());
    pod.insert("containers".to_owned(), json!([container]));
    if inspection.audience.is_some() {
        let account = name(&owner.name);
        pod.insert("serviceAccountName".to_owned(), json!(account));
    }
    if !trust.volumes.is_empty() {
        pod.insert("volumes".to_owned(), json!(trust.volumes));
    }
    let mut template = pod::template(
        owner,
        COMPONENT,
        Value::Object(pod),
        secrets,
        spec.pod_template.as_ref(),
    );
    if let Some(authority) = &inspection.authority {
        template["metadata"]["annotations"][AUTHORITY_ANNOTATION] = json!(authority);
    }
    owner.object(
        Kind::Deployment,
        &name(&owner.name),
        COMPONENT,
        &json!({
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(COMPONENT, &owner.name)},
            // One at a time is folded; a second would only wait.
            "strategy": {"type": "Recreate"},
            "template": template,
        }),
    )
}

/// What an app's inspector is called.
pub fn name(app: &str) -> String {
    format!("{app}-{COMPONENT}")
}
