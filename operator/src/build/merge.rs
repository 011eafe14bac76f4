//! What a user says of pods, laid over what the operator says.

use serde_json::{Map, Value};

/// Lays `over` over `base`: maps key by key, lists of named things by name, everything else replaced; `null` removes.
pub(super) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => merge_maps(base, over),
        (Value::Array(base), Value::Array(over)) if named(base) && named(over) => {
            for item in over {
                match base.iter_mut().find(|one| one["name"] == item["name"]) {
                    Some(one) => merge(one, item),
                    None => base.push(item.clone()),
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

pub(super) fn merge_maps(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        if value.is_null() {
            base.remove(key);
        } else if let Some(below) = base.get_mut(key) {
            merge(below, value);
        } else {
            base.insert(key.clone(), value.clone());
        }
    }
}

fn named(items: &[Value]) -> bool {
    items.iter().all(|item| item["name"].is_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(mut base: Value, over: &Value, expected: &Value) {
        merge(&mut base, over);
        assert_eq!(base, *expected);
    }

    #[test]
    fn maps_named_lists_and_the_rest() {
        check(
            json!({"a": 1, "b": {"c": 2}}),
            &json!({"b": {"d": 3}}),
            &json!({"a": 1, "b": {"c": 2, "d": 3}}),
        );
        check(
            json!([{"name": "celery", "image": "a"}]),
            &json!([{"name": "log", "image": "b"}, {"name": "celery", "tty": true}]),
            &json!([{"name": "celery", "image": "a", "tty": true}, {"name": "log", "image": "b"}]),
        );
        check(
            json!({"args": ["a", "b"]}),
            &json!({"args": ["c"]}),
            &json!({"args": ["c"]}),
        );
        check(
            json!({"a": 1, "b": 2}),
            &json!({"a": null}),
            &json!({"b": 2}),
        );
    }
}
