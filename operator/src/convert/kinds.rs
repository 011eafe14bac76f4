//! The ancestor's four kinds, field by field.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::{ConvertError, Note};

/// Beginnings of URLs that our brokers have (`crd::broker`).
pub(super) const SCHEMES: [&str; 7] = [
    "redis://",
    "rediss://",
    "redis+socket://",
    "sentinel://",
    "amqp://",
    "amqps://",
    "pyamqp://",
];

const IMAGE: &str = "the ancestor started pods without one, which Kubernetes refused";
const APP_NAME: &str = "celery needs to know the app (-A)";

/// What an object of the ancestor becomes.
pub(super) struct Converted {
    /// A Secret for what it held in the open.
    pub(super) secret: Option<Value>,
    /// Its spec; `None` when nothing is left of it.
    pub(super) spec: Option<Value>,
}

/// A broker's URL in our form.
struct Url {
    fields: Map<String, Value>,
    secret: Option<Value>,
}

pub(super) fn celery(
    mut spec: Fields,
    metadata: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<Converted, ConvertError> {
    let image = spec.text("image")?;
    let (broker, secret) = broker_of(spec.inner("broker")?, metadata, notes)?;
    let mut workers = Vec::new();
    for (index, mut each) in spec.each("workers")?.into_iter().enumerate() {
        of_parent(&mut each, notes)?;
        let mut worker = pool(&mut each, image.is_some(), notes)?;
        // The name that the ancestor gave its child ends like this.
        worker.insert("name".to_owned(), json!(format!("worker-{}", index + 1)));
        each.finish(notes);
        workers.push(Value::Object(worker));
    }
    let mut schedulers = Vec::new();
    for (index, mut each) in spec.each("schedulers")?.into_iter().enumerate() {
        of_parent(&mut each, notes)?;
        if let Some(mut one) = beat(&mut each, image.is_some(), notes)? {
            one.insert("name".to_owned(), json!(format!("scheduler-{}", index + 1)));
            schedulers.push(Value::Object(one));
        }
        each.finish(notes);
    }
    let mut converted = Map::new();
    if let Some(image) = image {
        converted.insert("image".to_owned(), json!(image));
    }
    converted.insert("broker".to_owned(), Value::Object(broker));
    if !workers.is_empty() {
        converted.insert("workers".to_owned(), Value::Array(workers));
    }
    if !schedulers.is_empty() {
        converted.insert("schedulers".to_owned(), Value::Array(schedulers));
    }
    spec.finish(notes);
    Ok(Converted {
        secret,
        spec: Some(Value::Object(converted)),
    })
}

pub(super) fn broker(
    spec: Fields,
    metadata: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<Converted, ConvertError> {
    let (broker, secret) = broker_of(spec, metadata, notes)?;
    Ok(Converted {
        secret,
        spec: Some(Value::Object(broker)),
    })
}

pub(super) fn worker(
    mut spec: Fields,
    metadata: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<Converted, ConvertError> {
    let url = standalone_url(&mut spec, metadata, notes)?;
    let mut worker = pool(&mut spec, false, notes)?;
    worker.insert("broker".to_owned(), Value::Object(url.fields));
    spec.finish(notes);
    Ok(Converted {
        secret: url.secret,
        spec: Some(Value::Object(worker)),
    })
}

pub(super) fn scheduler(
    mut spec: Fields,
    metadata: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<Converted, ConvertError> {
    let one = beat(&mut spec, false, notes)?;
    let url = if one.is_some() {
        Some(standalone_url(&mut spec, metadata, notes)?)
    } else {
        spec.text("brokerAddress")?;
        None
    };
    spec.finish(notes);
    let Some((mut one, url)) = one.zip(url) else {
        return Ok(Converted {
            secret: None,
            spec: None,
        });
    };
    one.insert("broker".to_owned(), Value::Object(url.fields));
    Ok(Converted {
        secret: url.secret,
        spec: Some(Value::Object(one)),
    })
}

fn broker_of(
    mut spec: Fields,
    metadata: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<(Map<String, Value>, Option<Value>), ConvertError> {
    let kind = spec.text("type")?;
    let address = spec.text("brokerAddress")?;
    let mut broker = Map::new();
    let mut secret = None;
    match (kind.as_deref(), address) {
        (None | Some("redis"), address) => {
            broker.insert("type".to_owned(), json!("redis"));
            if address.is_some() {
                let text = "left out: the ancestor took no notice of it unless type is external";
                notes.push(spec.note("brokerAddress", text));
            }
            let text = "a Redis with a password and a volume is made in its place; what waits in the ancestor's stays there";
            notes.push(spec.note("type", text));
        }
        (Some("external"), Some(address)) => {
            broker.insert("type".to_owned(), json!("external"));
            let url = url(&spec, "brokerAddress", &address, metadata, notes)?;
            secret = url.secret;
            for (key, value) in url.fields {
                let key = if key == "address" {
                    "brokerAddress".to_owned()
                } else {
                    key
                };
                broker.insert(key, value);
            }
        }
        (Some("external"), None) => {
            return Err(spec.missing("brokerAddress", "an external broker is somewhere"));
        }
        (Some(other), _) => {
            return Err(spec.wrong("type", &json!(other), "is neither redis nor external"));
        }
    }
    spec.finish(notes);
    Ok((broker, secret))
}

/// In a `Celery` the broker is the app's; what the ancestor overwrote is left out.
fn of_parent(each: &mut Fields, notes: &mut Vec<Note>) -> Result<(), ConvertError> {
    if each.text("brokerAddress")?.is_some() {
        notes.push(each.note("brokerAddress", "left out: the broker is the app's"));
    }
    Ok(())
}

fn standalone_url(
    spec: &mut Fields,
    metadata: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<Url, ConvertError> {
    let problem = "it is the broker's URL, and there is no Celery to take it from";
    let address = spec.needed("brokerAddress", problem)?;
    url(spec, "brokerAddress", &address, metadata, notes)
}

/// A URL in the open, or in a Secret when it holds a user or a password: ours refuse those in the open.
fn url(
    spec: &Fields,
    field: &str,
    address: &str,
    metadata: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<Url, ConvertError> {
    if !SCHEMES.iter().any(|scheme| address.starts_with(scheme)) {
        let problem = format!("begins with none of {}", SCHEMES.join(", "));
        return Err(spec.wrong(field, &json!(address), problem));
    }
    let mut fields = Map::new();
    if !address.contains('@') && !address.contains("password=") {
        fields.insert("address".to_owned(), json!(address));
        return Ok(Url {
            fields,
            secret: None,
        });
    }
    let name = metadata["name"].as_str().unwrap_or_default();
    let name = format!("{name}-broker-url");
    let text = format!(
        "it holds a user or a password: moved to Secret/{name}, which does not belong into a repository"
    );
    notes.push(spec.note(field, text));
    let mut named = json!({"name": name});
    if let Some(namespace) = metadata.get("namespace") {
        named["namespace"] = namespace.clone();
    }
    fields.insert(
        "secretKeyRef".to_owned(),
        json!({"name": name, "key": "url"}),
    );
    Ok(Url {
        fields,
        secret: Some(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": {"url": address},
        })),
    })
}

/// What pools and schedulers have in common.
fn container(
    spec: &mut Fields,
    has_image: bool,
    notes: &mut Vec<Note>,
) -> Result<Map<String, Value>, ConvertError> {
    let mut container = Map::new();
    match spec.text("image")? {
        Some(image) => {
            container.insert("image".to_owned(), json!(image));
        }
        None if has_image => {}
        None => return Err(spec.missing("image", IMAGE)),
    }
    let app_name = spec.needed("appName", APP_NAME)?;
    let mut letters = app_name.chars();
    let begins = letters
        .next()
        .is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
    if !begins || !letters.all(|letter| letter.is_ascii_alphanumeric() || "_.:".contains(letter)) {
        let problem = "is no name of a module, as celery -A takes it";
        return Err(spec.wrong("appName", &json!(app_name), problem));
    }
    container.insert("appName".to_owned(), json!(app_name));
    if let Some(mut resources) = spec.mapping("resources")? {
        let claims = resources
            .as_object_mut()
            .and_then(|all| all.remove("claims"));
        if claims.is_some() {
            let text = "left out: give resource claims in podTemplate";
            notes.push(spec.note("resources.claims", text));
        }
        container.insert("resources".to_owned(), resources);
    }
    Ok(container)
}

fn pool(
    spec: &mut Fields,
    has_image: bool,
    notes: &mut Vec<Note>,
) -> Result<Map<String, Value>, ConvertError> {
    let mut pool = container(spec, has_image, notes)?;
    let replicas = spec.replicas()?;
    if replicas == 0 {
        let text = "none, or missing, which is none in the ancestor: the pool has no workers until it is raised";
        notes.push(spec.note("replicas", text));
    }
    pool.insert("replicas".to_owned(), json!(replicas));
    let queues = spec.texts("targetQueues")?;
    for (index, queue) in queues.iter().enumerate() {
        if queue.is_empty()
            || queue.contains(|letter: char| letter == ',' || letter.is_whitespace())
        {
            let field = format!("targetQueues[{index}]");
            return Err(spec.wrong(&field, &json!(queue), "is no name of a queue"));
        }
    }
    if !queues.is_empty() {
        pool.insert("targetQueues".to_owned(), json!(queues));
    }
    Ok(pool)
}

/// A scheduler, unless the ancestor ran none.
fn beat(
    spec: &mut Fields,
    has_image: bool,
    notes: &mut Vec<Note>,
) -> Result<Option<Map<String, Value>>, ConvertError> {
    let mut one = container(spec, has_image, notes)?;
    if let Some(class) = spec.text("schedulerClass")? {
        one.insert("schedulerClass".to_owned(), json!(class));
    }
    match spec.replicas()? {
        0 => {
            let text = "none, or missing, which is none in the ancestor: the scheduler is left out";
            notes.push(spec.note("replicas", text));
            return Ok(None);
        }
        1 => {}
        count => {
            let text = format!("{count} become one: every beat more sends every task once more");
            notes.push(spec.note("replicas", text));
        }
    }
    Ok(Some(one))
}
