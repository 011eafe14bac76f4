//! Inspect commands on demand, with the arguments that Celery's own client sends when none are given.

use celeriac_proto::v1;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::super::super::page::invalid;
use super::{Composed, IDS_MAX, NAME_MAX, object};

/// Those that may be asked; `ping` has a message of its own.
pub(super) const NAMES: [&str; 14] = [
    "active",
    "active_queues",
    "clock",
    "conf",
    "memdump",
    "memsample",
    "objgraph",
    "query_task",
    "registered",
    "report",
    "reserved",
    "revoked",
    "scheduled",
    "stats",
];

const FIELD: &str = "inspect.arguments_json";

/// What an argument may be.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    /// From 1 to this.
    Count(u64),
    Text,
    /// A list of texts, or one.
    Texts,
}

/// The arguments of a command, with the value that Celery's client sends when none is given.
fn parameters(name: &str) -> Vec<(&'static str, Kind, Value)> {
    match name {
        "active" => vec![("safe", Kind::Flag, Value::Null)],
        "conf" => vec![("with_defaults", Kind::Flag, json!(false))],
        "memdump" => vec![("samples", Kind::Count(1_000), json!(10))],
        "objgraph" => vec![
            ("num", Kind::Count(10_000), json!(200)),
            ("max_depth", Kind::Count(100), json!(10)),
            ("type", Kind::Text, json!("Request")),
        ],
        "query_task" => vec![("ids", Kind::Texts, Value::Null)],
        "registered" => vec![
            ("taskinfoitems", Kind::Texts, json!([])),
            ("builtins", Kind::Flag, Value::Null),
        ],
        _ => Vec::new(),
    }
}

pub(super) fn compose(asked: &v1::InspectCommand) -> Result<Composed, Status> {
    let name = asked.name.as_str();
    if !NAMES.contains(&name) {
        let hint = match name {
            "ping" => "use the command `ping`".to_owned(),
            "hello" | "election" => "it is never sent: it changes or crashes workers".to_owned(),
            _ => format!("must be one of {}", NAMES.join(", ")),
        };
        return Err(invalid("inspect.name", format!("{name:?}: {hint}")));
    }
    let mut given = object(FIELD, &asked.arguments_json)?;
    let mut arguments = Map::new();
    let parameters = parameters(name);
    for (key, kind, default) in &parameters {
        match given.remove(*key) {
            Some(value) => {
                check(key, *kind, &value)?;
                arguments.insert((*key).to_owned(), value);
            }
            None if name == "query_task" => {
                return Err(invalid(
                    FIELD,
                    "needs the ids of tasks, such as {\"ids\": [\"…\"]}",
                ));
            }
            // Not even Celery's own client sends this one.
            None if *key == "builtins" => {}
            None => {
                arguments.insert((*key).to_owned(), default.clone());
            }
        }
    }
    if let Some(strange) = given.keys().next() {
        let known: Vec<&str> = parameters.iter().map(|(key, ..)| *key).collect();
        let known = match known.as_slice() {
            [] => "takes none".to_owned(),
            names => format!("takes {}", names.join(", ")),
        };
        return Err(invalid(
            FIELD,
            format!("has {strange:?}, but `{name}` {known}"),
        ));
    }
    Ok(Composed {
        method: name.to_owned(),
        arguments,
    })
}

fn check(key: &str, kind: Kind, value: &Value) -> Result<(), Status> {
    let is_text = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        !text.is_empty() && text.len() <= NAME_MAX
    };
    let (good, what) = match kind {
        Kind::Flag => (value.is_boolean(), "true or false".to_owned()),
        Kind::Count(most) => (
            value
                .as_u64()
                .is_some_and(|count| (1..=most).contains(&count)),
            format!("a number from 1 to {most}"),
        ),
        Kind::Text => (is_text(value), format!("a text of 1 to {NAME_MAX} bytes")),
        Kind::Texts => (
            match value {
                Value::Array(all) => {
                    !all.is_empty() && all.len() <= IDS_MAX && all.iter().all(is_text)
                }
                one => is_text(one),
            },
            format!("a list of 1 to {IDS_MAX} texts"),
        ),
    };
    if good {
        return Ok(());
    }
    let shown: String = value.to_string().chars().take(100).collect();
    Err(invalid(
        FIELD,
        format!("`{key}` must be {what}, is {shown}"),
    ))
}
