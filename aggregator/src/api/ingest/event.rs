//! Reads an event of the contract's bytes without making a value of the generated type: its texts stay where they are until
//! the fold's input takes them.

use std::collections::BTreeMap;

/// What was sent as an event is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the batch is not encoded as celeriac.v1.Event")]
pub struct Malformed;

/// `celeriac.v1.Event`, borrowed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Event<'a> {
    /// `type`.
    pub(super) kind: &'a str,
    pub(super) hostname: &'a str,
    pub(super) pid: Option<u64>,
    pub(super) clock: Option<u64>,
    pub(super) timestamp: Option<f64>,
    pub(super) received_micros: i64,
    pub(super) uuid: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) args: Option<&'a str>,
    pub(super) kwargs: Option<&'a str>,
    pub(super) root_id: Option<&'a str>,
    pub(super) parent_id: Option<&'a str>,
    pub(super) retries: Option<i64>,
    pub(super) eta: Option<&'a str>,
    pub(super) expires: Option<&'a str>,
    pub(super) queue: Option<&'a str>,
    pub(super) exchange: Option<&'a str>,
    pub(super) routing_key: Option<&'a str>,
    pub(super) result: Option<&'a str>,
    pub(super) runtime: Option<f64>,
    pub(super) exception: Option<&'a str>,
    pub(super) traceback: Option<&'a str>,
    pub(super) terminated: Option<bool>,
    pub(super) signum: Option<&'a str>,
    pub(super) expired: Option<bool>,
    pub(super) requeue: Option<bool>,
    pub(super) freq: Option<f64>,
    pub(super) active: Option<u64>,
    pub(super) processed: Option<u64>,
    pub(super) loadavg: Vec<f64>,
    pub(super) sw_ident: Option<&'a str>,
    pub(super) sw_ver: Option<&'a str>,
    pub(super) sw_sys: Option<&'a str>,
    /// By name, since a map of the contract has no order of its own: the same event is to give the same state.
    pub(super) custom: BTreeMap<&'a str, &'a str>,
    pub(super) truncated: BTreeMap<&'a str, u64>,
    pub(super) sanitized: Vec<&'a str>,
}

/// A value on the wire.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Event<'a> {
    /// Reads an event. Fields that this version does not know are passed over.
    ///
    /// # Errors
    /// They are no fields, or one of them is of another type than the contract's.
    #[inline]
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut event = Self::default();
        let mut from = Fields(bytes);
        while let Some((tag, value)) = from.next()? {
            event.set(tag, value)?;
        }
        Ok(event)
    }

    fn set(&mut self, tag: u64, value: Value<'a>) -> Result<(), Malformed> {
        match tag {
            1 => self.kind = value.text()?,
            2 => self.hostname = value.text()?,
            3 => self.pid = Some(value.number()?),
            4 => self.clock = Some(value.number()?),
            5 => self.timestamp = Some(value.double()?),
            6 => self.received_micros = value.number()?.cast_signed(),
            7 => self.uuid = Some(value.text()?),
            8 => self.name = Some(value.text()?),
            9 => self.args = Some(value.text()?),
            10 => self.kwargs = Some(value.text()?),
            11 => self.root_id = Some(value.text()?),
            12 => self.parent_id = Some(value.text()?),
            13 => self.retries = Some(value.number()?.cast_signed()),
            14 => self.eta = Some(value.text()?),
            15 => self.expires = Some(value.text()?),
            16 => self.queue = Some(value.text()?),
            17 => self.exchange = Some(value.text()?),
            18 => self.routing_key = Some(value.text()?),
            19 => self.result = Some(value.text()?),
            20 => self.runtime = Some(value.double()?),
            21 => self.exception = Some(value.text()?),
            22 => self.traceback = Some(value.text()?),
            23 => self.terminated = Some(value.number()? != 0),
            24 => self.signum = Some(value.text()?),
            25 => self.expired = Some(value.number()? != 0),
            26 => self.requeue = Some(value.number()? != 0),
            27 => self.freq = Some(value.double()?),
            28 => self.active = Some(value.number()?),
            29 => self.processed = Some(value.number()?),
            30 => value.doubles(&mut self.loadavg)?,
            31 => self.sw_ident = Some(value.text()?),
            32 => self.sw_ver = Some(value.text()?),
            33 => self.sw_sys = Some(value.text()?),
            34 => {
                let (name, value) = value.entry()?;
                let value = value.map_or(Ok(""), Value::text)?;
                self.custom.insert(name, value);
            }
            35 => {
                let (name, value) = value.entry()?;
                let value = value.map_or(Ok(0), Value::number)?;
                self.truncated.insert(name, value);
            }
            36 => self.sanitized.push(value.text()?),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Value<'a> {
    fn text(self) -> Result<&'a str, Malformed> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    }

    fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(Malformed),
        }
    }

    fn double(self) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed),
        }
    }

    /// Adds one number, or many that were packed.
    fn doubles(self, to: &mut Vec<f64>) -> Result<(), Malformed> {
        let Self::Bytes(packed) = self else {
            to.push(self.double()?);
            return Ok(());
        };
        let (doubles, rest) = packed.as_chunks::<8>();
        to.extend(doubles.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        if rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// Name and value of an entry of a map.
    fn entry(self) -> Result<(&'a str, Option<Value<'a>>), Malformed> {
        let Self::Bytes(bytes) = self else {
            return Err(Malformed);
        };
        let (mut name, mut value) = ("", None);
        let mut from = Fields(bytes);
        while let Some((tag, field)) = from.next()? {
            match tag {
                1 => name = field.text()?,
                2 => value = Some(field),
                _ => {}
            }
        }
        Ok((name, value))
    }
}

/// Fields of a message one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        // A key has 32 bits at most.
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let (fixed, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
                self.0 = rest;
                Value::Fixed64(u64::from_le_bytes(*fixed))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.0 = self.0.get(4..).ok_or(Malformed)?;
                Value::Fixed32
            }
            // Groups, which the contract has none of.
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            tag => Ok(Some((u64::from(tag), value))),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Most keys, and most lengths.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                // Of the tenth byte one bit is left.
                if index == 9 && *byte > 1 {
                    return Err(Malformed);
                }
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests;
