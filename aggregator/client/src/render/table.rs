//! Tables without borders, as kubectl prints them: columns are as wide as needed, and those that may shrink do when the
//! terminal is too narrow.

use super::View;
use super::text::{Tone, cut, plain, width};

/// Between two columns.
const GAP: &str = "  ";

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    /// It may be cut down to this many columns of the terminal.
    least: Option<usize>,
}

/// Words that are never cut.
pub(crate) const fn fixed(title: &'static str) -> Column {
    Column {
        title,
        right: false,
        least: None,
    }
}

/// Words that may be cut down to `least` columns.
pub(crate) const fn text(title: &'static str, least: usize) -> Column {
    Column {
        title,
        right: false,
        least: Some(least),
    }
}

/// Numbers, at the right.
pub(crate) const fn number(title: &'static str) -> Column {
    Column {
        title,
        right: true,
        least: None,
    }
}

/// A cell. Its text is harmless from the start.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text in a tone.
    pub(crate) fn toned(text: &str, tone: Tone) -> Self {
        Self {
            text: plain(text).into_owned(),
            tone,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::toned(&text, Tone::Plain)
    }
}

/// Rows under titles.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell a column.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "one cell a column");
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lines, each ended by a line feed; nothing at all without rows.
    pub(crate) fn render(&self, view: &View) -> String {
        self.render_indented(view, "")
    }

    /// The same with something before each line.
    pub(crate) fn render_indented(&self, view: &View, indent: &str) -> String {
        if self.is_empty() {
            return String::new();
        }
        let widths = self.widths(view.width.map(|most| most.saturating_sub(indent.len())));
        let mut out = String::new();
        let titles: Vec<_> = self
            .columns
            .iter()
            .map(|column| (column.title, Tone::Strong))
            .collect();
        self.line(&mut out, indent, &titles, &widths, view.color);
        for row in &self.rows {
            let cells: Vec<_> = row
                .iter()
                .map(|cell| (cell.text.as_str(), cell.tone))
                .collect();
            self.line(&mut out, indent, &cells, &widths, view.color);
        }
        out
    }

    fn line(
        &self,
        out: &mut String,
        indent: &str,
        cells: &[(&str, Tone)],
        widths: &[usize],
        color: bool,
    ) {
        let start = out.len();
        out.push_str(indent);
        for (at, ((text, tone), (column, most))) in cells
            .iter()
            .zip(self.columns.iter().zip(widths))
            .enumerate()
        {
            let shown = cut(text, *most);
            let padding = " ".repeat(most.saturating_sub(width(&shown)));
            if at > 0 {
                out.push_str(GAP);
            }
            if column.right {
                out.push_str(&padding);
            }
            out.push_str(&tone.paint(&shown, color));
            if !column.right {
                out.push_str(&padding);
            }
        }
        out.truncate(start + out[start..].trim_end_matches(' ').len());
        out.push('\n');
    }

    /// The width of each column: what its widest cell needs, less what the terminal does not have. The widest column that may
    /// shrink gives first.
    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .map(|column| width(column.title))
            .collect();
        for row in &self.rows {
            for (have, cell) in widths.iter_mut().zip(row) {
                *have = (*have).max(width(&cell.text));
            }
        }
        let Some(most) = most else { return widths };
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(most);
        while excess > 0 {
            let floor = |column: &Column| column.least.map(|least| least.max(width(column.title)));
            let widest = self
                .columns
                .iter()
                .zip(widths.iter_mut())
                .filter(|(column, have)| floor(column).is_some_and(|floor| **have > floor))
                .max_by_key(|(_, have)| **have);
            let Some((_, have)) = widest else { break };
            *have -= 1;
            excess -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::view;
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(vec![
            text("NAME", 6),
            number("READY"),
            fixed("STATE"),
            text("TEXT", 4),
        ]);
        table.row(vec![
            "celery".into(),
            "12".into(),
            Cell::toned("OK", Tone::Good),
            "a long text with an \x1b escape".into(),
        ]);
        table.row(vec![
            "日本語の列".into(),
            "3".into(),
            "-".into(),
            "x".into(),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        assert_eq!(
            table().render(&view()),
            "NAME        READY  STATE  TEXT\n\
             celery         12  OK     a long text with an \\x1b escape\n\
             日本語の列      3  -      x\n"
        );
    }

    #[test]
    fn the_widest_gives_way_on_a_narrow_terminal() {
        let narrow = |most| {
            let mut view = view();
            view.width = Some(most);
            table().render(&view)
        };
        assert_eq!(
            narrow(40),
            "NAME        READY  STATE  TEXT\n\
             celery         12  OK     a long text w…\n\
             日本語の列      3  -      x\n"
        );
        let least = "NAME    READY  STATE  TEXT\n\
                     celery     12  OK     a l…\n\
                     日本…       3  -      x\n";
        assert_eq!(narrow(26), least);
        assert_eq!(narrow(5), least, "what may not shrink does not");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut view = view();
        view.color = true;
        let coloured = table().render(&view);
        assert!(
            coloured.contains("12  \x1b[32mOK\x1b[0m     a long"),
            "{coloured:?}"
        );
        assert!(coloured.starts_with("\x1b[1mNAME\x1b[0m"), "{coloured:?}");
    }

    #[test]
    fn no_rows_no_titles() {
        assert_eq!(Table::new(vec![fixed("NAME")]).render(&view()), "");
    }
}
