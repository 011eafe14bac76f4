//! Objects and arrays split into their members' JSON texts, so that one bad member spoils no other.

use std::borrow::Cow;
use std::fmt;

use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, from_str};

use super::Text;

/// Most fields of one object. The largest real one is `stats.total`: one field for each task name.
pub const FIELDS_MAX: usize = 100_000;

/// An object: fields in order, each with the JSON text of its value. Of a repeated name the last counts, as in Python.
#[derive(Debug, Default)]
pub struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a str)>,
    places: HashMap<Cow<'a, str>, usize, ahash::RandomState>,
}

impl<'a> Object<'a> {
    /// Reads an object; nothing when `text` is something else or has more than [`FIELDS_MAX`] fields.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let object = reader.deserialize_map(ObjectVisitor).ok()?;
        reader.end().ok()?;
        Some(object)
    }

    /// The JSON text of a field.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let place = self.places.get(name)?;
        self.fields.get(*place).map(|(_, raw)| *raw)
    }

    /// Name and JSON text of every field, in order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &'a str)> {
        self.fields.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it has no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A string field.
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        string(self.get(name)?)
    }

    /// A field that is an integer, or a number without a fraction.
    pub fn integer(&self, name: &str) -> Option<i64> {
        integer(self.get(name)?)
    }

    /// Like [`Object::integer`], from zero up.
    pub fn unsigned(&self, name: &str) -> Option<u64> {
        unsigned(self.get(name)?)
    }

    /// A number field.
    pub fn float(&self, name: &str) -> Option<f64> {
        float(self.get(name)?)
    }

    /// A field that is true or false, or 1 or 0.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        boolean(self.get(name)?)
    }

    /// A field that is an object.
    pub fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::read(self.get(name)?)
    }

    /// A field that is an array, of which `most` elements are kept.
    pub fn list(&self, name: &str, most: usize) -> Option<List<'a>> {
        List::read(self.get(name)?, most)
    }

    fn insert(&mut self, name: Cow<'a, str>, raw: &'a str) {
        if let Some(place) = self.places.get(&name) {
            self.fields[*place].1 = raw;
        } else {
            self.places.insert(name.clone(), self.fields.len());
            self.fields.push((name, raw));
        }
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::default();
        while let Some((Text(name), raw)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            if object.len() == FIELDS_MAX {
                return Err(A::Error::custom("too many fields"));
            }
            object.insert(name, raw.get());
        }
        Ok(object)
    }
}

/// An array: the JSON texts of its first elements.
#[derive(Debug, Default)]
pub struct List<'a> {
    /// The elements kept, in order.
    pub items: Vec<&'a str>,
    /// How many more there were.
    pub left_out: u64,
}

impl<'a> List<'a> {
    /// Reads an array and keeps its first `most` elements; nothing when `text` is something else.
    pub fn read(text: &'a str, most: usize) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let list = ListSeed { most }.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(list)
    }

    /// How many elements there were.
    pub fn total(&self) -> u64 {
        self.items.len() as u64 + self.left_out
    }
}

struct ListSeed {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = List<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = List::default();
        while list.items.len() < self.most {
            match seq.next_element::<&'de RawValue>()? {
                Some(raw) => list.items.push(raw.get()),
                None => return Ok(list),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            list.left_out += 1;
        }
        Ok(list)
    }
}

/// The string that a JSON text is.
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    from_str::<Text<'_>>(raw).ok().map(|text| text.0)
}

/// The number that a JSON text is.
pub fn float(raw: &str) -> Option<f64> {
    from_str::<Number>(raw).ok()?.as_f64()
}

/// The integer, or number without a fraction, that a JSON text is.
pub fn integer(raw: &str) -> Option<i64> {
    let number = from_str::<Number>(raw).ok()?;
    number.as_i64().or_else(|| number.as_f64().and_then(whole))
}

/// Like [`integer`], from zero up.
pub fn unsigned(raw: &str) -> Option<u64> {
    let number = from_str::<Number>(raw).ok()?;
    number.as_u64().or_else(|| {
        let whole = number.as_f64().and_then(whole)?;
        u64::try_from(whole).ok()
    })
}

/// What a JSON text says: true or false, or 1 or 0.
pub fn boolean(raw: &str) -> Option<bool> {
    match raw {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The integer a double stands for, where every integer has a double of its own.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it has no fraction and is within 2^53"
        )]
        return Some(number as i64);
    }
    None
}
