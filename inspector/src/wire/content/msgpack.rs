//! `MessagePack`, as `msgpack-python` writes and reads it for kombu (`register_msgpack` in `kombu/serialization.py`), to JSON
//! and back.

use rmp::Marker;
use rmp::encode::{self, ByteBuf};
use serde_json::Value;

use super::Broken;
use super::text::JsonText;

/// Rewrites a body as JSON. Bytes that are no text come with replacement characters, types of the app's own as a
/// description: JSON has neither.
pub(super) fn to_json(body: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let mut reader = Reader { rest: body };
    let mut text = JsonText::new(out);
    // How many values each open list or map still has.
    let mut open = Vec::<u64>::new();
    loop {
        match reader.value(&mut text)? {
            Some(values) => open.push(values),
            None if open.is_empty() => break,
            None => {}
        }
        while let Some(left) = open.last_mut() {
            if let Some(less) = left.checked_sub(1) {
                *left = less;
                break;
            }
            open.pop();
            text.end()?;
        }
        if open.is_empty() {
            break;
        }
    }
    if reader.rest.is_empty() {
        Ok(())
    } else {
        Err(Broken)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Writes the next scalar, or the beginning of a list or map; of that the number of values in it, keys too.
    fn value(&mut self, text: &mut JsonText<'_>) -> Result<Option<u64>, Broken> {
        let [marker] = self.array()?;
        let marker = Marker::from_u8(marker);
        if let Some(values) = self.collection(marker, text)? {
            return Ok(Some(values));
        }
        match marker {
            Marker::Null => text.bare("null"),
            Marker::True => text.bare("true"),
            Marker::False => text.bare("false"),
            Marker::FixPos(number) => text.bare(&number.to_string()),
            Marker::FixNeg(number) => text.bare(&number.to_string()),
            Marker::F32 => text.float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => text.float(f64::from_be_bytes(self.array()?)),
            Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
                let number = self.unsigned(marker)?;
                text.bare(&number.to_string())
            }
            Marker::I8 => text.bare(&i8::from_be_bytes(self.array()?).to_string()),
            Marker::I16 => text.bare(&i16::from_be_bytes(self.array()?).to_string()),
            Marker::I32 => text.bare(&i32::from_be_bytes(self.array()?).to_string()),
            Marker::I64 => text.bare(&i64::from_be_bytes(self.array()?).to_string()),
            other => self.bytes_value(other, text),
        }
        .map(|()| None)
    }

    /// Begins a list or map, if it is one.
    fn collection(
        &mut self,
        marker: Marker,
        text: &mut JsonText<'_>,
    ) -> Result<Option<u64>, Broken> {
        let (is_map, count) = match marker {
            Marker::FixArray(count) => (false, count.into()),
            Marker::Array16 => (false, u16::from_be_bytes(self.array()?).into()),
            Marker::Array32 => (false, u32::from_be_bytes(self.array()?).into()),
            Marker::FixMap(count) => (true, count.into()),
            Marker::Map16 => (true, u16::from_be_bytes(self.array()?).into()),
            Marker::Map32 => (true, u32::from_be_bytes(self.array()?).into()),
            _ => return Ok(None),
        };
        text.begin(is_map)?;
        Ok(Some(if is_map { 2 * count } else { count }))
    }

    /// A text, bytes, or a type of somebody's own.
    fn bytes_value(&mut self, marker: Marker, text: &mut JsonText<'_>) -> Result<(), Broken> {
        let (length, is_ext) = match marker {
            Marker::FixStr(length) => (u64::from(length), false),
            Marker::Str8 | Marker::Bin8 => (self.unsigned(Marker::U8)?, false),
            Marker::Str16 | Marker::Bin16 => (self.unsigned(Marker::U16)?, false),
            Marker::Str32 | Marker::Bin32 => (self.unsigned(Marker::U32)?, false),
            Marker::FixExt1 => (1, true),
            Marker::FixExt2 => (2, true),
            Marker::FixExt4 => (4, true),
            Marker::FixExt8 => (8, true),
            Marker::FixExt16 => (16, true),
            Marker::Ext8 => (self.unsigned(Marker::U8)?, true),
            Marker::Ext16 => (self.unsigned(Marker::U16)?, true),
            Marker::Ext32 => (self.unsigned(Marker::U32)?, true),
            _ => return Err(Broken),
        };
        let kind = if is_ext {
            Some(i8::from_be_bytes(self.array()?))
        } else {
            None
        };
        let bytes = self.take(usize::try_from(length).map_err(|_| Broken)?)?;
        match kind {
            Some(kind) => text.string(&format!("ExtType(code={kind}, {} bytes)", bytes.len())),
            None => text.string(&String::from_utf8_lossy(bytes)),
        }
    }

    fn unsigned(&mut self, marker: Marker) -> Result<u64, Broken> {
        match marker {
            Marker::U8 => Ok(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Ok(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Ok(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Ok(u64::from_be_bytes(self.array()?)),
            _ => Err(Broken),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Broken)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Broken)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Writes a value, as `msgpack.packb` with `use_bin_type` does. It recurses as deep as the value goes: for what we send.
pub(super) fn from_json(value: &Value) -> Vec<u8> {
    let mut out = ByteBuf::new();
    write(value, &mut out);
    out.into_vec()
}

fn write(value: &Value, out: &mut ByteBuf) {
    const FITS: &str = "memory takes everything";
    let count = |count: usize| u32::try_from(count).expect("a request is small");
    match value {
        Value::Null => encode::write_nil(out).expect(FITS),
        Value::Bool(value) => encode::write_bool(out, *value).expect(FITS),
        Value::String(text) => encode::write_str(out, text).expect(FITS),
        Value::Number(number) => {
            if let Some(number) = number.as_u64() {
                encode::write_uint(out, number).expect(FITS);
            } else if let Some(number) = number.as_i64() {
                encode::write_sint(out, number).expect(FITS);
            } else {
                // A number is one of the three.
                encode::write_f64(out, number.as_f64().unwrap_or_default()).expect(FITS);
            }
        }
        Value::Array(values) => {
            encode::write_array_len(out, count(values.len())).expect(FITS);
            for value in values {
                write(value, out);
            }
        }
        Value::Object(values) => {
            encode::write_map_len(out, count(values.len())).expect(FITS);
            for (key, value) in values {
                encode::write_str(out, key).expect(FITS);
                write(value, out);
            }
        }
    }
}
