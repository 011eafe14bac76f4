//! Writes JSON, value by value, for bodies that came in another form.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Broken;
use crate::wire::json::DEPTH_MAX;
use crate::wire::message::MESSAGE_BYTES_MAX;

/// A JSON text that grows. It holds what it writes to nesting, form and [`MESSAGE_BYTES_MAX`], since a small body may stand
/// for a large text.
pub(super) struct JsonText<'a> {
    out: &'a mut Vec<u8>,
    levels: Vec<Level>,
    /// What was written for a node that has a name, by its number; those that are not ended yet are not here.
    named: BTreeMap<usize, Range<usize>>,
    /// The number of the value that comes next, 0 for none.
    name: usize,
    /// Whether the outermost value is there.
    whole: bool,
}

/// A list or map that is open.
struct Level {
    is_map: bool,
    /// Keys count too.
    values: usize,
    name: usize,
    begin: usize,
}

impl<'a> JsonText<'a> {
    /// Writes into `out`, which is emptied first.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        Self {
            out,
            levels: Vec::new(),
            named: BTreeMap::new(),
            name: 0,
            whole: false,
        }
    }

    /// Whether nothing is open.
    pub(super) fn is_done(&self) -> bool {
        self.whole && self.levels.is_empty()
    }

    /// Gives the next value a number by which [`JsonText::repeat`] finds it; 0 gives none.
    pub(super) fn name(&mut self, name: usize) {
        self.name = name;
    }

    /// A text, as value or key.
    pub(super) fn string(&mut self, text: &str) -> Result<(), Broken> {
        self.scalar(|out, _| write_string(out, text))
    }

    /// A number, `true`, `false` or `null`, written out. As a key it is a text.
    pub(super) fn bare(&mut self, text: &str) -> Result<(), Broken> {
        self.scalar(|out, is_key| {
            if is_key {
                write_string(out, text);
            } else {
                out.extend_from_slice(text.as_bytes());
            }
        })
    }

    /// A number; `null` when it is none that JSON has.
    pub(super) fn float(&mut self, number: f64) -> Result<(), Broken> {
        match serde_json::Number::from_f64(number) {
            Some(number) => self.bare(&number.to_string()),
            None => self.bare("null"),
        }
    }

    /// A list or map begins.
    pub(super) fn begin(&mut self, is_map: bool) -> Result<(), Broken> {
        // What is not hashable in Python is no key.
        if self.before()? || self.levels.len() >= DEPTH_MAX {
            return Err(Broken);
        }
        self.levels.push(Level {
            is_map,
            values: 0,
            name: std::mem::take(&mut self.name),
            begin: self.out.len(),
        });
        self.out.push(if is_map { b'{' } else { b'[' });
        Ok(())
    }

    /// The innermost list or map ends.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        let level = self.levels.pop().ok_or(Broken)?;
        if level.is_map && level.values % 2 == 1 {
            return Err(Broken);
        }
        self.out.push(if level.is_map { b'}' } else { b']' });
        self.keep(level.name, level.begin);
        Ok(())
    }

    /// What was written under a number, once more.
    pub(super) fn repeat(&mut self, name: usize) -> Result<(), Broken> {
        // One that is not ended yet holds itself.
        let range = self.named.get(&name).cloned().ok_or(Broken)?;
        let is_key = self.before()?;
        if self.out.len() + range.len() > MESSAGE_BYTES_MAX {
            return Err(Broken);
        }
        match self.out.get(range.start) {
            Some(b'{' | b'[') if is_key => Err(Broken),
            Some(b'"') | None => {
                self.out.extend_from_within(range);
                Ok(())
            }
            Some(_) if is_key => {
                self.out.push(b'"');
                self.out.extend_from_within(range);
                self.out.push(b'"');
                Ok(())
            }
            Some(_) => {
                self.out.extend_from_within(range);
                Ok(())
            }
        }
    }

    fn scalar(&mut self, write: impl FnOnce(&mut Vec<u8>, bool)) -> Result<(), Broken> {
        let is_key = self.before()?;
        let (name, begin) = (std::mem::take(&mut self.name), self.out.len());
        write(self.out, is_key);
        self.keep(name, begin);
        Ok(())
    }

    fn keep(&mut self, name: usize, begin: usize) {
        if name != 0 {
            self.named.insert(name, begin..self.out.len());
        }
    }

    /// Writes what stands before a value; says whether it is a key.
    fn before(&mut self) -> Result<bool, Broken> {
        if self.out.len() > MESSAGE_BYTES_MAX {
            return Err(Broken);
        }
        let Some(level) = self.levels.last_mut() else {
            let first = !std::mem::replace(&mut self.whole, true);
            return if first { Ok(false) } else { Err(Broken) };
        };
        let is_key = level.is_map && level.values % 2 == 0;
        if level.is_map && !is_key {
            self.out.push(b':');
        } else if level.values > 0 {
            self.out.push(b',');
        }
        level.values += 1;
        Ok(is_key)
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text serializes, and memory takes it");
}
