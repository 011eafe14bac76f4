//! Lists on the screen: the cursor follows its thing, whatever the order becomes.

use super::things::Named;

/// Where the cursor of a list is, and what the list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListState {
    /// App and name of what the cursor is on.
    selected: Option<(String, String)>,
    /// Where it was last, for when it is gone.
    index: usize,
    /// The first row on the screen.
    offset: usize,
    /// Which column orders the rows.
    pub(crate) sort: usize,
    /// The other way round.
    pub(crate) reverse: bool,
    /// Rows without this text are left out.
    pub(crate) filter: String,
}

impl ListState {
    /// The row the cursor is on.
    pub(crate) fn cursor<T: Named>(&self, rows: &[T]) -> usize {
        let found = self.selected.as_ref().and_then(|(app, name)| {
            rows.iter()
                .position(|row| row.key() == (app.as_str(), name.as_str()))
        });
        found
            .unwrap_or(self.index)
            .min(rows.len().saturating_sub(1))
    }

    /// The first row on a screen of `height` rows.
    pub(crate) fn offset<T: Named>(&self, rows: &[T], height: usize) -> usize {
        let cursor = self.cursor(rows);
        let most = rows.len().saturating_sub(height);
        let least = (cursor + 1).saturating_sub(height);
        self.offset.clamp(least, cursor.max(least)).min(most)
    }

    /// Moves the cursor by so many rows.
    pub(crate) fn step<T: Named>(&mut self, rows: &[T], by: isize, height: usize) {
        let cursor = self.cursor(rows).saturating_add_signed(by);
        self.to(rows, cursor, height);
    }

    /// Puts the cursor on a row.
    pub(crate) fn to<T: Named>(&mut self, rows: &[T], row: usize, height: usize) {
        self.offset = self.offset(rows, height);
        self.index = row.min(rows.len().saturating_sub(1));
        self.selected = rows.get(self.index).map(|row| {
            let (app, name) = row.key();
            (app.to_owned(), name.to_owned())
        });
        self.offset = self.offset(rows, height);
    }

    /// Back to the first row, wherever that is.
    pub(crate) fn reset(&mut self) {
        self.selected = None;
        self.index = 0;
        self.offset = 0;
    }
}

impl<T: Named> Named for &T {
    fn key(&self) -> (&str, &str) {
        (*self).key()
    }
}

impl<T: Named> Named for super::things::Tracked<T> {
    fn key(&self) -> (&str, &str) {
        self.item.key()
    }
}
