//! A mapping of the input, whose fields are taken one by one. What is left at the end has no counterpart, and is said.

use serde_json::{Map, Value};

use super::{ConvertError, Note};

/// What remains of a mapping.
pub(super) struct Fields {
    object: String,
    path: String,
    rest: Map<String, Value>,
}

impl Fields {
    /// The fields of a mapping; of nothing, none.
    pub(super) fn of(object: &str, path: &str, value: Value) -> Result<Self, ConvertError> {
        let rest = match value {
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            other => return Err(wrong(object, path, &other, "is no mapping")),
        };
        Ok(Self {
            object: object.to_owned(),
            path: path.to_owned(),
            rest,
        })
    }

    /// The path of one of them.
    pub(super) fn path(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// A text, unless it is missing or empty: the ancestor made no difference.
    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, ConvertError> {
        match self.rest.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, &other, "is no text")),
        }
    }

    /// A text that ours cannot do without.
    pub(super) fn needed(
        &mut self,
        field: &str,
        problem: &'static str,
    ) -> Result<String, ConvertError> {
        self.text(field)?
            .ok_or_else(|| self.missing(field, problem))
    }

    /// A number of pods; missing is none, as the ancestor has it.
    pub(super) fn replicas(&mut self) -> Result<i64, ConvertError> {
        match self.rest.remove("replicas") {
            None | Some(Value::Null) => Ok(0),
            Some(value) => match value.as_i64().filter(|count| (0..=10_000).contains(count)) {
                Some(count) => Ok(count),
                None => Err(self.wrong("replicas", &value, "is no number from 0 to 10000")),
            },
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, field: &str) -> Result<Vec<String>, ConvertError> {
        let mut texts = Vec::new();
        for (index, value) in self.list(field)?.into_iter().enumerate() {
            match value {
                Value::String(text) => texts.push(text),
                other => {
                    let field = format!("{field}[{index}]");
                    return Err(self.wrong(&field, &other, "is no text"));
                }
            }
        }
        Ok(texts)
    }

    /// A list of mappings.
    pub(super) fn each(&mut self, field: &str) -> Result<Vec<Self>, ConvertError> {
        let list = self.list(field)?;
        let of = |(index, value)| {
            let path = self.path(&format!("{field}[{index}]"));
            Self::of(&self.object, &path, value)
        };
        list.into_iter().enumerate().map(of).collect()
    }

    /// A mapping in this one.
    pub(super) fn inner(&mut self, field: &str) -> Result<Self, ConvertError> {
        let value = self.rest.remove(field).unwrap_or_default();
        Self::of(&self.object, &self.path(field), value)
    }

    /// A mapping as it is, unless it is missing or empty.
    pub(super) fn mapping(&mut self, field: &str) -> Result<Option<Value>, ConvertError> {
        match self.rest.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) if fields.is_empty() => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(field, &other, "is no mapping")),
        }
    }

    /// Says what is left: the ancestor took no notice of it, or ours has no place for it.
    pub(super) fn finish(self, notes: &mut Vec<Note>) {
        for field in self.rest.keys() {
            let hint = match field.as_str() {
                "queues" => "; targetQueues names queues",
                "scheudlerClass" => "; schedulerClass names the class",
                "autoscaling" | "min" | "max" | "desiredNumber" => {
                    "; scaling.mode says who decides how many workers run"
                }
                _ => "",
            };
            let text = format!("left out: the ancestor's v4 has no such field{hint}");
            notes.push(self.note(field, text));
        }
    }

    /// A note on one of them.
    pub(super) fn note(&self, field: &str, text: impl Into<String>) -> Note {
        Note {
            object: self.object.clone(),
            field: self.path(field),
            text: text.into(),
        }
    }

    /// An error on one of them.
    pub(super) fn wrong(
        &self,
        field: &str,
        value: &Value,
        problem: impl Into<String>,
    ) -> ConvertError {
        wrong(&self.object, &self.path(field), value, problem)
    }

    /// An error on one that is not there.
    pub(super) fn missing(&self, field: &str, problem: &'static str) -> ConvertError {
        ConvertError::Missing {
            object: self.object.clone(),
            field: self.path(field),
            problem,
        }
    }

    fn list(&mut self, field: &str) -> Result<Vec<Value>, ConvertError> {
        match self.rest.remove(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong(field, &other, "is no list")),
        }
    }
}

fn wrong(object: &str, path: &str, value: &Value, problem: impl Into<String>) -> ConvertError {
    let shown = value.to_string();
    // A URL may hold a password, and an error ends up in logs.
    let value = if shown.contains('@') || shown.contains("password") {
        "what it holds (not shown: there may be a password in it)".to_owned()
    } else {
        shown
    };
    ConvertError::Field {
        object: object.to_owned(),
        field: path.to_owned(),
        value,
        problem: problem.into(),
    }
}
