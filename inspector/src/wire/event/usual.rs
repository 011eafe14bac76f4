//! The usual way through a body: strict JSON on one line, every field of its usual type, straight into [`Event`]s. Gives up
//! at the first oddity; the careful way is then taken from the start.

use super::field::slot;
use super::{CUSTOM_FIELDS_MAX, EVENTS_MAX, Event, NAME_BYTES_MAX, identity};
use crate::wire::json::{self, Cursor, TEXT_BYTES_MAX};

/// Appends the events of `body`; false when something in it is odd, and then `out` is as it was.
pub(super) fn decode<'a>(body: &'a [u8], received_micros: i64, out: &mut Vec<Event<'a>>) -> bool {
    let before = out.len();
    let usual = events(body, received_micros, out).is_some();
    if !usual {
        out.truncate(before);
    }
    usual
}

/// One event, or an array of events.
fn events<'a>(body: &'a [u8], received_micros: i64, out: &mut Vec<Event<'a>>) -> Option<()> {
    let mut cursor = Cursor::new(body)?;
    if cursor.peek()? == b'[' {
        let mut left = EVENTS_MAX;
        cursor.list(|element| {
            left = left.checked_sub(1)?;
            event(element, received_micros, out)
        })?;
    } else {
        event(&mut cursor, received_micros, out)?;
    }
    cursor.end()
}

fn event<'a>(
    cursor: &mut Cursor<'a>,
    received_micros: i64,
    out: &mut Vec<Event<'a>>,
) -> Option<()> {
    // Filled in its final place: an event is large, and moving it is not free.
    out.push(Event {
        received_micros,
        ..Event::default()
    });
    let event = out.last_mut()?;
    cursor.object(|value, name| {
        if let Some(slot) = slot(event, name) {
            if let Some(full_bytes) = slot.read(value)? {
                event.truncated.push((name.to_owned(), full_bytes));
            }
            return Some(());
        }
        custom(event, name, value.raw()?)
    })?;
    identity(event).ok()
}

fn custom(event: &mut Event<'_>, name: &str, raw: &str) -> Option<()> {
    if event.custom.len() == CUSTOM_FIELDS_MAX
        || name.len() > NAME_BYTES_MAX
        || raw.len() > TEXT_BYTES_MAX
        || !json::is_clean(raw)
        || event.custom.iter().any(|(known, _)| known == name)
    {
        return None;
    }
    event.custom.push((name.to_owned(), raw.to_owned()));
    Some(())
}
