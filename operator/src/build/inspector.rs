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
}

/// The inspector of an app.
pub fn object(
    owner: &Owner,
    spec: &Inspector,
    broker: &UrlSource,
    inspection: &Inspection,
    secrets: Option<&str>,
) -> Desired {
    let set = |name: &str, value: &str| json!({"name": format!("CELERIAC_INSPECTOR_{name}"), "value": value});
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
    if let Some(fields) = container.as_object_mut() {
        pod::add_resources(fields, &spec.resources);
    }
    let mut pod = Map::new();
    pod.insert("automountServiceAccountToken".to_owned(), json!(false));
    pod.insert("enableServiceLinks".to_owned(), json!(false));
    pod.insert("securityContext".to_owned(), pod::locked_pod());
    pod.insert("containers".to_owned(), json!([container]));
    let template = pod::template(
        owner,
        COMPONENT,
        Value::Object(pod),
        secrets,
        spec.pod_template.as_ref(),
    );
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
