//! Which wire field goes where in an [`Event`], and how its value is read.

use std::borrow::Cow;

use super::Event;
use crate::wire::json::{self, Cursor, TEXT_BYTES_MAX};

/// Load averages on the wire: over 1, 5 and 15 minutes.
const LOADS: usize = 3;

/// The place of one field.
pub(super) enum Slot<'e, 'a> {
    /// `type` and `hostname`.
    Identity(&'e mut Cow<'a, str>),
    Text(&'e mut Option<Cow<'a, str>>),
    Unsigned(&'e mut Option<u64>),
    Integer(&'e mut Option<i64>),
    Float(&'e mut Option<f64>),
    Boolean(&'e mut Option<bool>),
    /// A number or a text, kept as text.
    Either(&'e mut Option<Cow<'a, str>>),
    Loads(&'e mut Vec<f64>),
    /// Known and of no use.
    Ignored,
}

/// The place of a field; nothing for fields of custom events.
pub(super) fn slot<'e, 'a>(event: &'e mut Event<'a>, name: &str) -> Option<Slot<'e, 'a>> {
    // As bytes: the compiler then looks at one after another, and not at each name.
    Some(match name.as_bytes() {
        b"type" => Slot::Identity(&mut event.event_type),
        b"hostname" => Slot::Identity(&mut event.hostname),
        b"pid" => Slot::Unsigned(&mut event.pid),
        b"clock" => Slot::Unsigned(&mut event.clock),
        b"timestamp" => Slot::Float(&mut event.timestamp),
        // The timestamp is UTC already.
        b"utcoffset" => Slot::Ignored,
        b"uuid" => Slot::Text(&mut event.uuid),
        b"name" => Slot::Text(&mut event.name),
        b"args" => Slot::Text(&mut event.args),
        b"kwargs" => Slot::Text(&mut event.kwargs),
        b"root_id" => Slot::Text(&mut event.root_id),
        b"parent_id" => Slot::Text(&mut event.parent_id),
        b"retries" => Slot::Integer(&mut event.retries),
        b"eta" => Slot::Text(&mut event.eta),
        b"expires" => Slot::Text(&mut event.expires),
        b"queue" => Slot::Text(&mut event.queue),
        b"exchange" => Slot::Text(&mut event.exchange),
        b"routing_key" => Slot::Text(&mut event.routing_key),
        b"result" => Slot::Text(&mut event.result),
        b"runtime" => Slot::Float(&mut event.runtime),
        b"exception" => Slot::Text(&mut event.exception),
        b"traceback" => Slot::Text(&mut event.traceback),
        b"terminated" => Slot::Boolean(&mut event.terminated),
        b"signum" => Slot::Either(&mut event.signum),
        b"expired" => Slot::Boolean(&mut event.expired),
        b"requeue" => Slot::Boolean(&mut event.requeue),
        b"freq" => Slot::Float(&mut event.freq),
        b"active" => Slot::Unsigned(&mut event.active),
        b"processed" => Slot::Unsigned(&mut event.processed),
        b"loadavg" => Slot::Loads(&mut event.loadavg),
        b"sw_ident" => Slot::Text(&mut event.sw_ident),
        b"sw_ver" => Slot::Text(&mut event.sw_ver),
        b"sw_sys" => Slot::Text(&mut event.sw_sys),
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

impl Slot<'_, '_> {
    /// Reads a value of any type; accepts what means the same (`5.0` for 5, 1 for true).
    pub(super) fn fill(self, raw: &str) -> Fit {
        match self {
            Self::Ignored => return Fit::Fits,
            Self::Identity(place) => {
                *place = Cow::Owned(json::string(raw).unwrap_or_default().into_owned());
                return fit(!place.is_empty());
            }
            Self::Text(place) => return fill_text(place, raw),
            Self::Either(place) => match json::integer(raw) {
                Some(number) => *place = Some(number.to_string().into()),
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

fn fill_text(place: &mut Option<Cow<'_, str>>, raw: &str) -> Fit {
    *place = None;
    if raw == "null" {
        return Fit::Fits;
    }
    let Some(text) = json::string(raw) else {
        return Fit::Misfit;
    };
    let (text, full_bytes) = json::bounded_text(&text);
    *place = Some(text.into());
    full_bytes.map_or(Fit::Fits, Fit::Cut)
}

/// The usual way.
#[expect(
    clippy::option_option,
    reason = "outside `None` gives up, inside it is the absence of what may be absent"
)]
impl<'a> Slot<'_, 'a> {
    /// Reads a value of the usual type, and gives its full size in bytes when it was cut; `None` for any other.
    pub(super) fn read(self, value: &mut Cursor<'a>) -> Option<Option<u64>> {
        match self {
            Self::Identity(place) => *place = value.string()?,
            Self::Either(place) if value.peek()? != b'"' => {
                *place = absent_or(value, integer)?.map(|number| number.to_string().into());
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
    let number = value.number()?;
    // The parser of the careful way: another one may differ in the last bit.
    decimal(number).or_else(|| serde_json::from_str(number).ok())
}

/// A number of at most 19 digits, without sign: what `serde_json` makes of it by the same arithmetic, in a fifth of the time.
fn decimal(number: &str) -> Option<f64> {
    /// So many are below 2^64 whatever they are.
    const DIGITS_MAX: usize = 19;
    const POWERS: [f64; DIGITS_MAX + 1] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19,
    ];
    let (mut digits, mut count, mut behind) = (0_u64, 0, 0);
    for (at, byte) in number.bytes().enumerate() {
        match byte {
            b'0'..=b'9' if count < DIGITS_MAX => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' => {
                behind = number.len() - at - 1;
                continue;
            }
            _ => return None,
        }
        count += 1;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "as there; the text has more digits than a float"
    )]
    Some(digits as f64 / POWERS[behind])
}

#[expect(
    clippy::option_option,
    reason = "outside `None` gives up, inside it is the absence of what may be absent"
)]
fn read_text<'a>(place: &mut Option<Cow<'a, str>>, value: &mut Cursor<'a>) -> Option<Option<u64>> {
    let Some(text) = value.maybe_string()? else {
        *place = None;
        return Some(None);
    };
    if text.len() <= TEXT_BYTES_MAX {
        *place = Some(text);
        return Some(None);
    }
    let (text, full_bytes) = json::bounded_text(&text);
    *place = Some(text.into());
    Some(full_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::decimal;

    proptest! {
        #[test]
        fn a_number_is_read_to_the_bit_as_the_careful_way_reads_it(
            number in "(0|[1-9][0-9]{0,18})(\\.[0-9]{1,20})?",
        ) {
            let digits = number.bytes().filter(u8::is_ascii_digit).count();
            let careful: f64 = serde_json::from_str(&number).expect("it is JSON");
            let quick = decimal(&number);
            prop_assert_eq!(quick.is_some(), digits <= 19, "{}", number);
            prop_assert_eq!(quick.unwrap_or(careful).to_bits(), careful.to_bits(), "{}", number);
        }
    }
}
