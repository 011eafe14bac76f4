//! Messages in canonical proto3 JSON form, for any serde format: 64-bit integers are strings, times are RFC 3339, enums are
//! names, what is not set is absent. Fields come in the order of their numbers and map entries by key, so that the same
//! message always gives the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::LazyLock;

use celeriac_client::v1;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, ReflectMessage as _, Value};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::render::text::is_control;

/// A message of the contract that is printed as a whole.
pub(crate) trait Printed: Message {
    /// Its name in package `celeriac.v1`.
    const NAME: &'static str;
}

macro_rules! printed {
    ($($message:ident)*) => {
        $(impl Printed for v1::$message {
            const NAME: &'static str = concat!("celeriac.v1.", stringify!($message));
        })*

        #[cfg(test)]
        const PRINTED: &[&str] = &[$(<v1::$message as Printed>::NAME),*];
    };
}

printed! {
    ListAppsResponse GetAppResponse ListWorkersResponse GetWorkerResponse ListQueuesResponse ListTasksResponse
    GetTaskResponse ListTaskNamesResponse WatchResponse ExecuteCommandResponse GetCommandResponse ListCommandsResponse
    ListGapsResponse GetWorkflowResponse
}

static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(celeriac_proto::FILE_DESCRIPTOR_SET)
        .expect("the committed descriptor set is proven current by a test of its crate")
});

/// A message ready to be serialized.
#[derive(Debug)]
pub(crate) struct Canonical(DynamicMessage);

impl Canonical {
    pub(crate) fn new<M: Printed>(message: &M) -> Self {
        let descriptor = CONTRACT
            .get_message_by_name(M::NAME)
            .expect("the descriptor set and the types are generated from the same files");
        let mut dynamic = DynamicMessage::new(descriptor);
        dynamic
            .transcode_from(message)
            .expect("the descriptor set and the types are generated from the same files");
        Self(dynamic)
    }

    /// Indented JSON with a line feed at the end.
    pub(crate) fn pretty_json(&self) -> io::Result<String> {
        Ok(harmless(&serde_json::to_string_pretty(self)?))
    }

    /// JSON on one line with a line feed at the end.
    pub(crate) fn json_line(&self) -> io::Result<String> {
        Ok(harmless(&serde_json::to_string(self)?))
    }

    /// A YAML document with a line feed at the end.
    pub(crate) fn yaml(&self) -> io::Result<String> {
        serde_saphyr::to_string(self).map_err(io::Error::other)
    }
}

impl Serialize for Canonical {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields(&self.0).serialize(serializer)
    }
}

/// prost-reflect has this mapping too, but writes maps in the order of a hash map.
struct Fields<'a>(&'a DynamicMessage);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self
            .0
            .descriptor()
            .full_name()
            .starts_with("google.protobuf.")
        {
            return self.0.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        for (field, value) in self.0.fields() {
            map.serialize_entry(
                field.json_name(),
                &Scalar {
                    value,
                    kind: field.kind(),
                },
            )?;
        }
        map.end()
    }
}

/// A value of a field, of a list or of a map.
struct Scalar<'a> {
    value: &'a Value,
    kind: Kind,
}

impl Serialize for Scalar<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of_kind = |value, kind: &Kind| Scalar {
            value,
            kind: kind.clone(),
        };
        match (self.value, &self.kind) {
            (Value::Bool(value), _) => serializer.serialize_bool(*value),
            (Value::I32(value), _) => serializer.serialize_i32(*value),
            (Value::U32(value), _) => serializer.serialize_u32(*value),
            (Value::I64(value), _) => serializer.collect_str(value),
            (Value::U64(value), _) => serializer.collect_str(value),
            (Value::F32(value), _) => float(f64::from(*value), serializer),
            (Value::F64(value), _) => float(*value, serializer),
            (Value::String(text), _) => serializer.serialize_str(text),
            (Value::Bytes(_), _) => unreachable!("a test proves that no printed message has bytes"),
            (Value::EnumNumber(number), Kind::Enum(names)) => match names.get_value(*number) {
                Some(value) => serializer.serialize_str(value.name()),
                None => serializer.serialize_i32(*number),
            },
            (Value::EnumNumber(number), _) => serializer.serialize_i32(*number),
            (Value::Message(message), _) => Fields(message).serialize(serializer),
            (Value::List(values), kind) => {
                serializer.collect_seq(values.iter().map(|value| of_kind(value, kind)))
            }
            (Value::Map(entries), kind) => {
                let values = match kind {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    other => other.clone(),
                };
                let sorted: BTreeMap<String, &Value> = entries
                    .iter()
                    .map(|(key, value)| (key_text(key), value))
                    .collect();
                serializer.collect_map(
                    sorted
                        .into_iter()
                        .map(|(key, value)| (key, of_kind(value, &values))),
                )
            }
        }
    }
}

fn float<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if value > 0.0 {
        serializer.serialize_str("Infinity")
    } else {
        serializer.serialize_str("-Infinity")
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// Also escapes what JSON allows and a terminal may obey: DEL, C1 and bidirectional controls. They stand inside strings
/// only; `serde_json` has escaped those below U+0020.
fn harmless(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_control(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a String takes all that is written to it");
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
