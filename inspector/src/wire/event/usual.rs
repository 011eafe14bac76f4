//! The usual way through a body: strict JSON, every field of its usual type, straight into [`Event`]s. Gives up at the
//! first oddity; the careful way is then taken from the start.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::field::slot;
use super::{CUSTOM_FIELDS_MAX, EVENTS_MAX, Event, NAME_BYTES_MAX, identity};
use crate::wire::json::{self, TEXT_BYTES_MAX, Text};

/// Appends the events of `body`; false when something in it is odd, and then `out` is as it was.
pub(super) fn decode(body: &[u8], received_micros: i64, out: &mut Vec<Event>) -> bool {
    let Ok(text) = std::str::from_utf8(body) else {
        return false;
    };
    let before = out.len();
    let mut reader = serde_json::Deserializer::from_str(text);
    let body = Body {
        out,
        received_micros,
        before,
    };
    let usual = reader.deserialize_any(body).is_ok() && reader.end().is_ok();
    if !usual {
        out.truncate(before);
    }
    usual
}

/// One event, or an array of events.
struct Body<'e> {
    out: &'e mut Vec<Event>,
    received_micros: i64,
    before: usize,
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event or an array of events")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        One(self).visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self {
            out,
            received_micros,
            before,
        } = self;
        while seq
            .next_element_seed(One(Body {
                out: &mut *out,
                received_micros,
                before,
            }))?
            .is_some()
        {
            if out.len() - before > EVENTS_MAX {
                return Err(A::Error::custom("too many events"));
            }
        }
        Ok(())
    }
}

/// One event.
struct One<'e>(Body<'e>);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Filled in its final place: an event is large, and moving it is not free.
        self.0.out.push(Event {
            received_micros: self.0.received_micros,
            ..Event::default()
        });
        let Some(event) = self.0.out.last_mut() else {
            return Ok(());
        };
        while let Some(Text(name)) = map.next_key()? {
            if let Some(slot) = slot(event, &name) {
                if let Some(full_bytes) = map.next_value_seed(slot)? {
                    event.truncated.push((name.into_owned(), full_bytes));
                }
            } else {
                custom(event, name, map.next_value()?)?;
            }
        }
        identity(event).map_err(A::Error::custom)
    }
}

fn custom<E: Error>(event: &mut Event, name: Cow<'_, str>, value: &RawValue) -> Result<(), E> {
    let raw = value.get();
    if event.custom.len() == CUSTOM_FIELDS_MAX
        || name.len() > NAME_BYTES_MAX
        || raw.len() > TEXT_BYTES_MAX
        || !json::is_clean(raw)
        || event.custom.iter().any(|(known, _)| *known == name)
    {
        return Err(E::custom("odd custom field"));
    }
    event.custom.push((name.into_owned(), raw.to_owned()));
    Ok(())
}
