//! Looks at objects as people have them: through kubectl, as JSON or as rows.

use std::time::Duration;

use serde_json::Value;

use super::access::Namespace;
use crate::wait::eventually;

/// How long anything may take on a busy machine.
pub const SOON: Duration = Duration::from_mins(2);

impl Namespace {
    /// An object as JSON with its managed fields, if it is there; else what kubectl says.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value, String> {
        let command = ["get", kind, name, "--show-managed-fields", "-o", "json"];
        let text = self.try_kubectl(&command)?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// An object, once a look at it finds what is `wanted`, in words `what`.
    ///
    /// # Panics
    /// When that does not come soon.
    pub async fn once(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(what, SOON, async || {
            let mut object = self.get(kind, name)?;
            if wanted(&object) {
                return Ok(object);
            }
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
            Err(object.to_string())
        })
        .await
    }

    /// Names of the objects of a kind, in order.
    pub fn names(&self, kind: &str) -> Vec<String> {
        let text = self.kubectl(&["get", kind, "-o", "name"]);
        let mut names: Vec<String> = text
            .lines()
            .map(|line| line.rsplit('/').next().unwrap_or(line).to_owned())
            .collect();
        names.sort();
        names
    }

    /// What Events tell of objects of a kind, in order: time, reason and note.
    pub fn told(&self, kind: &str) -> Vec<String> {
        let events = self.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
        let events: Value = serde_json::from_str(&events).expect("JSON was asked for");
        let events = events["items"].as_array().into_iter().flatten();
        let mut told: Vec<String> = events
            .filter(|event| event["regarding"]["kind"] == kind)
            .map(|event| {
                let text = |field: &str| event[field].as_str().unwrap_or_default();
                format!("{} {}: {}", text("eventTime"), text("reason"), text("note"))
            })
            .collect();
        told.sort();
        told
    }

    /// The words of an object's row.
    pub fn row(&self, kind: &str, name: &str) -> Vec<String> {
        let row = self.kubectl(&["get", kind, name, "--no-headers"]);
        row.split_whitespace().map(str::to_owned).collect()
    }
}

/// The condition of an object, null where it has none of that type.
pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|one| one["type"] == type_));
    found.unwrap_or(&Value::Null)
}
