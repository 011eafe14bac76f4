//! The careful way through a body in which something is odd: each event, and each field, is read by itself.

use super::field::{Fit, Slot, slot};
use super::{CUSTOM_FIELDS_MAX, EVENTS_MAX, Event, NAME_BYTES_MAX, Unfit, identity};
use crate::wire::json::{self, DEPTH_MAX, Document, List, Object};
use crate::wire::rejection::{Rejections, sample};

/// Custom fields past this one are not named.
const NAMED_MAX: usize = 2 * CUSTOM_FIELDS_MAX;

pub(super) fn decode(
    body: &[u8],
    received_micros: i64,
    out: &mut Vec<Event<'_>>,
    rejects: &mut Rejections,
) {
    let not_json = |rejects: &mut Rejections| {
        rejects.add(Unfit::NotJson.reason(), 1, Some(sample(body)));
    };
    let Ok(document) = Document::read(body) else {
        return not_json(rejects);
    };
    let text = document.text().trim_ascii();
    let list = if text.starts_with('[') {
        List::read(text, EVENTS_MAX)
    } else if json::is_json(text) {
        Some(List {
            items: vec![text],
            left_out: 0,
        })
    } else {
        None
    };
    let Some(list) = list else {
        return not_json(rejects);
    };
    for raw in list.items {
        match event(&document, raw, received_micros) {
            Ok(event) => out.push(event),
            Err(unfit) => rejects.add(unfit.reason(), 1, Some(sample(raw.as_bytes()))),
        }
    }
    if list.left_out > 0 {
        rejects.add(
            Unfit::TooMany.reason(),
            list.left_out,
            Some(sample(text.as_bytes())),
        );
    }
}

fn event(
    document: &Document<'_>,
    raw: &str,
    received_micros: i64,
) -> Result<Event<'static>, Unfit> {
    if !raw.starts_with('{') {
        return Err(Unfit::NotAnObject);
    }
    if document.depth() > DEPTH_MAX && json::depth(raw) > DEPTH_MAX {
        return Err(Unfit::TooDeep);
    }
    let fields = Object::read(raw).ok_or(Unfit::NotAnObject)?;
    let mut event = Event {
        received_micros,
        ..Event::default()
    };
    // The type first: what an odd field means depends on it.
    if let Some(raw) = fields.get("type") {
        Slot::Identity(&mut event.event_type).fill(raw);
    }
    let mut customs = 0;
    for (name, raw) in fields.fields() {
        let fit = if name == "uuid" {
            uuid(&mut event, raw)?;
            Some(Fit::Fits)
        } else {
            slot(&mut event, name).map(|slot| slot.fill(raw))
        };
        match fit {
            Some(Fit::Fits) => {}
            Some(Fit::Cut(full_bytes)) => event.truncated.push((name.to_owned(), full_bytes)),
            Some(Fit::Misfit) if event.is_builtin() || is_common(name) => {
                event.sanitized.push(name.to_owned());
                continue;
            }
            // A custom event may use a field's name for something of its own.
            Some(Fit::Misfit) | None => {
                customs += 1;
                custom(&mut event, document, (name, raw), customs);
                continue;
            }
        }
        if document.mended_in(raw) && name != "utcoffset" {
            event.sanitized.push(name.to_owned());
        }
    }
    identity(&event)?;
    Ok(event)
}

/// Fields that every event has, whoever made it.
fn is_common(name: &str) -> bool {
    matches!(name, "type" | "hostname" | "pid" | "clock" | "timestamp")
}

/// Task ids are strings to Celery, but nothing stops an app from passing an integer.
fn uuid(event: &mut Event<'_>, raw: &str) -> Result<(), Unfit> {
    let whole = !raw.is_empty() && raw.bytes().all(|byte| byte.is_ascii_digit());
    event.uuid = if whole {
        Some(raw.to_owned().into())
    } else if raw == "null" {
        None
    } else {
        json::string(raw).map(|text| text.into_owned().into())
    };
    if event.uuid.is_none() && raw != "null" {
        if !event.is_worker() {
            return Err(Unfit::Uuid);
        }
        event.sanitized.push("uuid".to_owned());
    }
    Ok(())
}

fn custom(
    event: &mut Event<'_>,
    document: &Document<'_>,
    (name, raw): (&str, &str),
    number: usize,
) {
    let kept = name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned();
    if number > CUSTOM_FIELDS_MAX {
        if number <= NAMED_MAX {
            event.truncated.push((kept, raw.len() as u64));
        }
        return;
    }
    let (value, full_bytes) = json::bounded_json(raw);
    if let Some(full_bytes) = full_bytes {
        event.truncated.push((kept.clone(), full_bytes));
    }
    let replaced_in_name = document.mended() && name.contains('\u{fffd}');
    if replaced_in_name || document.mended_in(raw) {
        event.sanitized.push(kept.clone());
    }
    event.custom.push((kept, value));
}
