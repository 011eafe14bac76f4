//! `celeriac-operator convert`: objects of the ancestor's group, `celery.celeryproject.org/v4`, as ours. Pure.
//!
//! What an object said and ours say in another way, or not at all, is told in notes; what cannot be an object of ours is an
//! error that names field and value. Documents of other groups go through as they are.

mod fields;
mod kinds;

use std::fmt;

use serde_json::{Map, Value, json};

use fields::Fields;

/// The ancestor's group and version.
pub const ANCESTOR: &str = "celery.celeryproject.org/v4";

/// What came out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversion {
    /// The objects, in the order of the input.
    pub objects: Vec<Value>,
    /// What a person should know of them.
    pub notes: Vec<Note>,
}

/// What a person should know of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// `Kind/name`.
    pub object: String,
    /// The field, such as `spec.workers[0].replicas`.
    pub field: String,
    /// What became of it, and why.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.text)
    }
}

/// Why something cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The input is no YAML.
    #[error("the input is no YAML")]
    Yaml {
        /// The parser's words.
        source: Box<serde_saphyr::Error>,
    },
    /// A field holds what cannot be.
    #[error("{object}: {field}: {value} {problem}")]
    Field {
        /// `Kind/name`.
        object: String,
        /// The field.
        field: String,
        /// What it holds; never a password.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A field is missing that ours cannot do without.
    #[error("{object}: {field} is missing: {problem}")]
    Missing {
        /// `Kind/name`.
        object: String,
        /// The field.
        field: String,
        /// What it is needed for.
        problem: &'static str,
    },
    /// The ancestor has no such kind.
    #[error("document {number}: {kind:?} is no kind of celery.celeryproject.org/v4")]
    Kind {
        /// Which document, from 1.
        number: usize,
        /// What it says.
        kind: String,
    },
}

/// Converts all documents of a text; a `List` is taken apart.
///
/// # Errors
/// When one of them cannot be an object of ours.
pub fn convert(text: &str) -> Result<Conversion, ConvertError> {
    // Without a piece of the text in errors: it may hold a password.
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|source| {
            ConvertError::Yaml {
                source: Box::new(source),
            }
        })?;
    let mut conversion = Conversion::default();
    for (index, document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        let is_list = document["kind"] == "List" && document["apiVersion"] == "v1";
        let items = match document["items"].as_array() {
            Some(items) if is_list => items.clone(),
            _ => vec![document],
        };
        for item in items {
            one(item, index + 1, &mut conversion)?;
        }
    }
    Ok(conversion)
}

fn one(document: Value, number: usize, conversion: &mut Conversion) -> Result<(), ConvertError> {
    if document["apiVersion"] != ANCESTOR {
        conversion.objects.push(document);
        return Ok(());
    }
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let object = format!("{kind}/{name}");
    if let Some(parent) = parent(&document) {
        conversion.notes.push(Note {
            object,
            field: "metadata.ownerReferences".to_owned(),
            text: format!("left out: Celery/{parent} made it, and ours makes its own"),
        });
        return Ok(());
    }
    let metadata = metadata(&document["metadata"], &kind, &object)?;
    let spec = Fields::of(&object, "spec", document["spec"].clone())?;
    let converted = match kind.as_str() {
        "Celery" => kinds::celery(spec, &metadata, &mut conversion.notes)?,
        "CeleryBroker" => kinds::broker(spec, &metadata, &mut conversion.notes)?,
        "CeleryWorker" => kinds::worker(spec, &metadata, &mut conversion.notes)?,
        "CeleryScheduler" => kinds::scheduler(spec, &metadata, &mut conversion.notes)?,
        _ => return Err(ConvertError::Kind { number, kind }),
    };
    conversion.objects.extend(converted.secret);
    if let Some(spec) = converted.spec {
        conversion.objects.push(json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
        }));
    }
    Ok(())
}

/// The `Celery` that made an object, when one did.
fn parent(document: &Value) -> Option<&str> {
    let owners = document["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == "Celery")?;
    owner["name"].as_str()
}

/// Name, namespace, labels and annotations; the rest belongs to the object that was read.
fn metadata(read: &Value, kind: &str, object: &str) -> Result<Map<String, Value>, ConvertError> {
    let Some(name) = read["name"].as_str() else {
        return Err(ConvertError::Missing {
            object: object.to_owned(),
            field: "metadata.name".to_owned(),
            problem: "an object needs one",
        });
    };
    let name_max = match kind {
        "Celery" => 40,
        "CeleryWorker" => 63,
        _ => 50,
    };
    if name.len() > name_max {
        return Err(ConvertError::Field {
            object: object.to_owned(),
            field: "metadata.name".to_owned(),
            value: name.to_owned(),
            problem: format!("has more than {name_max} characters: names of pods are made of it"),
        });
    }
    let mut kept = Map::new();
    for key in ["name", "namespace", "labels", "annotations"] {
        match &read[key] {
            Value::Null => {}
            value => {
                kept.insert(key.to_owned(), value.clone());
            }
        }
    }
    if let Some(annotations) = kept.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            kept.remove("annotations");
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
