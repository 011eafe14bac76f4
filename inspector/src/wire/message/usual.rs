//! The usual way into an envelope: as kombu writes it. Gives up at the first oddity; the whole way is then taken from the
//! start.

use std::borrow::Cow;

use super::{Envelope, Headers, MaybeText, Properties};
use crate::wire::json::Cursor;

/// The parts of an envelope, when all of it is as usual.
pub(super) fn read(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut cursor = Cursor::new(bytes)?;
    let mut body = None;
    let mut content_type = None;
    let mut headers = None;
    let mut properties = None;
    cursor.object(|value, name| match name {
        "body" => put(&mut body, value.string()?),
        "content-type" => put(&mut content_type, value.string()?),
        "headers" => put(&mut headers, read_headers(value)?),
        "properties" => put(&mut properties, read_properties(value)?),
        _ => value.skip(),
    })?;
    cursor.end()?;
    Some(Envelope {
        body: body?,
        content_type: MaybeText(content_type),
        headers,
        properties,
    })
}

fn read_headers<'a>(cursor: &mut Cursor<'a>) -> Option<Headers<'a>> {
    let (mut ticket, mut compression) = (None, None);
    cursor.object(|value, name| match name {
        "ticket" => put(&mut ticket, value.maybe_string()?),
        "compression" => put(&mut compression, value.maybe_string()?),
        _ => value.skip(),
    })?;
    Some(Headers {
        ticket: MaybeText(ticket.flatten()),
        compression: MaybeText(compression.flatten()),
    })
}

fn read_properties<'a>(cursor: &mut Cursor<'a>) -> Option<Properties<'a>> {
    let mut encoding: Option<Option<Cow<'a, str>>> = None;
    cursor.object(|value, name| match name {
        "body_encoding" => put(&mut encoding, value.maybe_string()?),
        _ => value.skip(),
    })?;
    Some(Properties {
        body_encoding: MaybeText(encoding.flatten()),
    })
}

/// A field that is there twice is odd.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}
