//! What an expression may ask about: fields with a name and a type, and the things that have them.

use std::fmt;

use crate::state::Micros;

/// What kind of values a field has, and with that what it can be compared to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, or a list of texts of which one must match.
    Text,
    /// One of few words in upper case; AIP-160 compares such names exactly.
    Word {
        /// The words, for the error; others may be possible.
        known: &'static [&'static str],
        /// Whether there are no others.
        closed: bool,
    },
    /// The text of a Python dict, with entries.
    Map,
    /// A number.
    Number,
    /// A number of seconds; also written `1.5s`.
    Seconds,
    /// True or false.
    Flag,
    /// A time.
    Time,
}

impl Kind {
    /// Whether its values are text.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Word { .. } | Self::Map)
    }
}

/// A field of a thing.
pub trait Field: Copy + PartialEq + fmt::Debug + 'static {
    /// All of them, in the order in which errors list them.
    const ALL: &'static [Self];

    /// Its name, as in the API.
    fn name(self) -> &'static str;

    /// Its type.
    fn kind(self) -> Kind;

    /// The field of that name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

/// A thing with fields. What it does not have is absent: it equals nothing and is neither above nor below anything.
pub trait Fields {
    /// Its fields.
    type Field: Field;

    /// Whether one of the field's texts passes the test. `false` when absent and for fields that are not text.
    fn any_text(&self, field: Self::Field, test: &mut dyn FnMut(&str) -> bool) -> bool;

    /// Its number.
    fn number(&self, field: Self::Field) -> Option<f64>;

    /// Its truth.
    fn flag(&self, field: Self::Field) -> Option<bool>;

    /// Its time.
    fn time(&self, field: Self::Field) -> Option<Micros>;
}
