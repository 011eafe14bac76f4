//! Which wire field goes where in an [`Event`], and how its value is read.

use super::Event;
use crate::wire::json::{self, Cursor, TEXT_BYTES_MAX};

/// Load averages on the wire: over 1, 5 and 15 minutes.
const LOADS: usize = 3;

/// The place of one field.
pub(super) enum Slot<'e> {
    /// `type` and `hostname`.
    Identity(&'e mut String),
    Text(&'e mut Option<String>),
    Unsigned(&'e mut Option<u64>),
    Integer(&'e mut Option<i64>),
    Float(&'e mut Option<f64>),
    Boolean(&'e mut Option<bool>),
    /// A number or a text, kept as text.
    Either(&'e mut Option<String>),
    Loads(&'e mut Vec<f64>),
    /// Known and of no use.
    Ignored,
}

/// The place of a field; nothing for fields of custom events.
pub(super) fn slot<'e>(event: &'e mut Event, name: &str) -> Option<Slot<'e>> {
    Some(match name {
        "type" => Slot::Identity(&mut event.event_type),
        "hostname" => Slot::Identity(&mut event.hostname),
        "pid" => Slot::Unsigned(&mut event.pid),
        "clock" => Slot::Unsigned(&mut event.clock),
        "timestamp" => Slot::Float(&mut event.timestamp),
        // The timestamp is UTC already.
        "utcoffset" => Slot::Ignored,
        "uuid" => Slot::Text(&mut event.uuid),
        "name" => Slot::Text(&mut event.name),
        "args" => Slot::Text(&mut event.args),
        "kwargs" => Slot::Text(&mut event.kwargs),
        "root_id" => Slot::Text(&mut event.root_id),
        "parent_id" => Slot::Text(&mut event.parent_id),
        "retries" => Slot::Integer(&mut event.retries),
        "eta" => Slot::Text(&mut event.eta),
        "expires" => Slot::Text(&mut event.expires),
        "queue" => Slot::Text(&mut event.queue),
        "exchange" => Slot::Text(&mut event.exchange),
        "routing_key" => Slot::Text(&mut event.routing_key),
        "result" => Slot::Text(&mut event.result),
        "runtime" => Slot::Float(&mut event.runtime),
        "exception" => Slot::Text(&mut event.exception),
        "traceback" => Slot::Text(&mut event.traceback),
        "terminated" => Slot::Boolean(&mut event.terminated),
        "signum" => Slot::Either(&mut event.signum),
        "expired" => Slot::Boolean(&mut event.expired),
        "requeue" => Slot::Boolean(&mut event.requeue),
        "freq" => Slot::Float(&mut event.freq),
        "active" => Slot::Unsigned(&mut event.active),
        "processed" => Slot::Unsigned(&mut event.processed),
        "loadavg" => Slot::Loads(&mut event.loadavg),
        "sw_ident" => Slot::Text(&mut event.sw_ident),
        "sw_ver" => Slot::Text(&mut event.sw_ver),
        "sw_sys" => Slot::Text(&mut event.sw_sys),
        _ => return None,
    })
}

/// How a value went into its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Wholly; or it was null, or is of no use.
    Fits,
    /// Cut; with its full size in bytes.
    Cut(u64),
    /// Its type is not the field's. The place is empty.
    Misfit,
}

impl Slot<'_> {
    /// Reads a value of any type; accepts what means the same (`5.0` for 5, 1 for true).
    pub(super) fn fill(self, raw: &str) -> Fit {
        match self {
            Self::Ignored => return Fit::Fits,
            Self::Identity(place) => {
                *place = json::string(raw).unwrap_or_default().into_owned();
                return fit(!place.is_empty());
            }
            Self::Text(place) => return fill_text(place, raw),
            Self::Either(place) => match json::integer(raw) {
                Some(number) => *place = Some(number.to_string()),
                None => return fill_text(place, raw),
            },
            Self::Loads(place) => {
                place.clear();
                if raw == "null" {
                    return Fit::Fits;
                }
                let list = json::List::read(raw, LOADS).unwrap_or_default();
                let loads: Option<Vec<f64>> = list.items.into_iter().map(json::float).collect();
                *place = loads.unwrap_or_default();
                return fit(!place.is_empty() && list.left_out == 0);
            }
            Self::Unsigned(place) => {
                *place = json::unsigned(raw);
                return fit(place.is_some() || raw == "null");
            }
            Self::Integer(place) => {
                *place = json::integer(raw);
                return fit(place.is_some() || raw == "null");
            }
            Self::Float(place) => {
                *place = json::float(raw);
                return fit(place.is_some() || raw == "null");
            }
            Self::Boolean(place) => {
                *place = json::boolean(raw);
                return fit(place.is_some() || raw == "null");
            }
        }
        Fit::Fits
    }
}

fn fit(fits: bool) -> Fit {
    if fits { Fit::Fits } else { Fit::Misfit }
}

fn fill_text(place: &mut Option<String>, raw: &str) -> Fit {
    *place = None;
    if raw == "null" {
        return Fit::Fits;
    }
    let Some(text) = json::string(raw) else {
        return Fit::Misfit;
    };
    let (text, full_bytes) = json::bounded_text(&text);
    *place = Some(text);
    full_bytes.map_or(Fit::Fits, Fit::Cut)
}

/// The usual way.
#[expect(
    clippy::option_option,
    reason = "outside `None` gives up, inside it is the absence of what may be absent"
)]
impl Slot<'_> {
    /// Reads a value of the usual type, and gives its full size in bytes when it was cut; `None` for any other.
    pub(super) fn read(self, value: &mut Cursor<'_>) -> Option<Option<u64>> {
        match self {
            Self::Identity(place) => *place = value.string()?.into_owned(),
            Self::Either(place) if value.peek()? != b'"' => {
                *place = absent_or(value, integer)?.map(|number| number.to_string());
            }
            Self::Text(place) | Self::Either(place) => return read_text(place, value),
            Self::Unsigned(place) => {
                *place = absent_or(value, |value| value.number()?.parse().ok())?;
            }
            Self::Integer(place) => *place = absent_or(value, integer)?,
            Self::Float(place) => *place = absent_or(value, float)?,
            Self::Boolean(place) => *place = absent_or(value, Cursor::boolean)?,
            Self::Loads(place) => {
                place.clear();
                value.list(|load| {
                    place.push(float(load)?);
                    Some(())
                })?;
                if place.len() != LOADS {
                    return None;
                }
            }
            Self::Ignored => value.skip()?,
        }
        Some(None)
    }
}

#[expect(
    clippy::option_option,
    reason = "outside `None` gives up, inside it is the absence of what may be absent"
)]
fn absent_or<'a, T>(
    value: &mut Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Option<T>,
) -> Option<Option<T>> {
    if value.null()? {
        return Some(None);
    }
    read(value).map(Some)
}

fn integer(value: &mut Cursor<'_>) -> Option<i64> {
    // JSON's -0 is no integer.
    let number = value.number().filter(|number| *number != "-0")?;
    number.parse().ok()
}

fn float(value: &mut Cursor<'_>) -> Option<f64> {
    // The parser of the careful way: another one may differ in the last bit.
    serde_json::from_str(value.number()?).ok()
}

#[expect(
    clippy::option_option,
    reason = "outside `None` gives up, inside it is the absence of what may be absent"
)]
fn read_text(place: &mut Option<String>, value: &mut Cursor<'_>) -> Option<Option<u64>> {
    let Some(text) = value.maybe_string()? else {
        *place = None;
        return Some(None);
    };
    if text.len() <= TEXT_BYTES_MAX {
        *place = Some(text.into_owned());
        return Some(None);
    }
    let (text, full_bytes) = json::bounded_text(&text);
    *place = Some(text);
    Some(full_bytes)
}
