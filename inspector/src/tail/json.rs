//! An event as one line of JSON: a flat object with Celery's own field names, and `received`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::wire::event::Event;

/// Appends `event` as one line.
pub(super) fn write(line: &mut Vec<u8>, event: &Event<'_>) {
    serde_json::to_writer(&mut *line, &Flat(event))
        .expect("texts, numbers and checked JSON always serialize into memory");
    line.push(b'\n');
}

struct Flat<'a>(&'a Event<'a>);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(event) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &event.event_type)?;
        map.serialize_entry("hostname", &event.hostname)?;
        map.serialize_entry("received", &seconds(event.received_micros))?;
        macro_rules! optional {
            ($($field:ident),*) => {
                $(if let Some(value) = &event.$field {
                    map.serialize_entry(stringify!($field), value)?;
                })*
            };
        }
        optional!(
            timestamp, pid, clock, uuid, name, args, kwargs, root_id, parent_id, retries
        );
        optional!(
            eta,
            expires,
            queue,
            exchange,
            routing_key,
            result,
            runtime,
            exception
        );
        optional!(
            traceback, terminated, signum, expired, requeue, freq, active, processed
        );
        if !event.loadavg.is_empty() {
            map.serialize_entry("loadavg", &event.loadavg)?;
        }
        optional!(sw_ident, sw_ver, sw_sys);
        for (name, json) in &event.custom {
            match serde_json::from_str::<&RawValue>(json) {
                Ok(value) => map.serialize_entry(name, value)?,
                Err(_) => map.serialize_entry(name, json)?,
            }
        }
        let is_free = |name: &str| event.custom.iter().all(|(taken, _)| taken != name);
        if !event.truncated.is_empty() && is_free("truncated") {
            map.serialize_entry("truncated", &Sizes(&event.truncated))?;
        }
        if !event.sanitized.is_empty() && is_free("sanitized") {
            map.serialize_entry("sanitized", &event.sanitized)?;
        }
        map.end()
    }
}

struct Sizes<'a>(&'a [(String, u64)]);

impl Serialize for Sizes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, size)| (name, size)))
    }
}

/// Seconds since the Unix epoch, as Celery writes times.
#[expect(
    clippy::cast_precision_loss,
    reason = "a double holds microseconds until the year 2255"
)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &Event<'_>) -> String {
        let mut line = Vec::new();
        write(&mut line, event);
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    #[test]
    fn fields_have_celerys_names_and_absent_ones_are_absent() {
        let event = Event {
            event_type: "task-progress".into(),
            hostname: "celery@w1".into(),
            received_micros: 1_795_347_434_590_429,
            timestamp: Some(1_795_347_434.5),
            uuid: Some("u-1".into()),
            custom: vec![
                ("done".into(), "0".into()),
                (
                    "of".into(),
                    "[1, {\"a\": 123456789012345678901234567890}]".into(),
                ),
            ],
            truncated: vec![("args".into(), 70_000)],
            ..Event::default()
        };
        assert_eq!(
            line(&event),
            "{\"type\":\"task-progress\",\"hostname\":\"celery@w1\",\"received\":1795347434.590429,\
             \"timestamp\":1795347434.5,\"uuid\":\"u-1\",\"done\":0,\
             \"of\":[1, {\"a\": 123456789012345678901234567890}],\"truncated\":{\"args\":70000}}\n"
        );
    }

    #[test]
    fn an_apps_own_field_is_not_overwritten() {
        let event = Event {
            event_type: "x".into(),
            custom: vec![("truncated".into(), "true".into())],
            truncated: vec![("a".into(), 1)],
            ..Event::default()
        };
        assert_eq!(line(&event).matches("truncated").count(), 1);
    }
}
