//! Names that many things share are kept once.

use ahash::RandomState;
use hashbrown::HashSet;

use super::ids::Symbol;

/// Below this many names none is let go: real apps have hundreds.
const SWEEP_MIN: usize = 1_024;

/// The names in use. What nothing uses any more is let go whenever their number has doubled, so that it is bounded by
/// what the tasks, workers and counters hold.
#[derive(Debug)]
pub(super) struct Interner {
    names: HashSet<Symbol, RandomState>,
    sweep_at: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            names: HashSet::default(),
            sweep_at: SWEEP_MIN,
        }
    }
}

impl Interner {
    /// The one symbol for this text.
    pub(super) fn intern(&mut self, symbol: Symbol) -> Symbol {
        if let Some(known) = self.names.get(symbol.as_str()) {
            return known.clone();
        }
        self.keep(&symbol);
        symbol
    }

    /// The one symbol for this text.
    pub(super) fn intern_text(&mut self, text: &str) -> Symbol {
        if let Some(known) = self.names.get(text) {
            return known.clone();
        }
        let symbol = Symbol::from(text);
        self.keep(&symbol);
        symbol
    }

    /// Puts the symbol for this text in place, without a look-up when it is there already.
    pub(super) fn assign(&mut self, place: &mut Option<Symbol>, symbol: Symbol) {
        if place.as_ref() != Some(&symbol) {
            *place = Some(self.intern(symbol));
        }
    }

    /// Makes a symbol that came from outside share memory with its equals.
    pub(super) fn adopt(&mut self, place: &mut Option<Symbol>) {
        if let Some(symbol) = place.take() {
            *place = Some(self.intern(symbol));
        }
    }

    fn keep(&mut self, symbol: &Symbol) {
        if self.names.len() >= self.sweep_at {
            self.names.retain(Symbol::is_shared);
            self.sweep_at = SWEEP_MIN.max(2 * self.names.len());
        }
        self.names.insert(symbol.clone());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
