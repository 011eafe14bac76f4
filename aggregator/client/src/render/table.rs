//! Tables without borders, as kubectl prints them: columns are as wide as needed. On a terminal that is too narrow, columns
//! that may shrink do, and then those that can be missed are left out.

use super::View;
use super::text::{Tone, cut, plain, width};

/// Between two columns.
pub(crate) const GAP: &str = "  ";
/// Where lines are longer than the terminal whatever is cut, no column that may shrink takes more than this.
const WRAPPED_WIDTH_MAX: usize = 40;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    /// It may be cut down to this many columns of the terminal.
    least: Option<usize>,
    /// It may be left out when there is no room.
    optional: bool,
}

impl Column {
    /// The same, left out when there is no room. The last of these goes first.
    pub(crate) const fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    pub(crate) const fn title(&self) -> &'static str {
        self.title
    }

    /// Whether its cells stand at the right.
    pub(crate) const fn is_right(&self) -> bool {
        self.right
    }

    /// The least width it can have when its widest cell has `need`.
    fn floor(&self, need: usize) -> usize {
        self.least
            .map_or(need, |least| least.max(width(self.title)).min(need))
    }
}

/// Words that are never cut.
pub(crate) const fn fixed(title: &'static str) -> Column {
    Column {
        title,
        right: false,
        least: None,
        optional: false,
    }
}

/// Words that may be cut down to `least` columns.
pub(crate) const fn text(title: &'static str, least: usize) -> Column {
    Column {
        title,
        right: false,
        least: Some(least),
        optional: false,
    }
}

/// Numbers, at the right.
pub(crate) const fn number(title: &'static str) -> Column {
    Column {
        title,
        right: true,
        least: None,
        optional: false,
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

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn tone(&self) -> Tone {
        self.tone
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

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// The width of each column on a terminal of `most` columns, `None` for one that is left out.
    pub(crate) fn widths(&self, most: usize) -> Vec<Option<usize>> {
        self.layout(Some(most), false)
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
        let most = view.width.map(|most| most.saturating_sub(indent.len()));
        let layout = self.layout(most, view.wide);
        let mut out = String::new();
        let title = |column: &Column| (column.title, Tone::Strong);
        self.line(
            &mut out,
            indent,
            self.columns.iter().map(title),
            &layout,
            view.color,
        );
        for row in &self.rows {
            let cells = row.iter().map(|cell| (cell.text.as_str(), cell.tone));
            self.line(&mut out, indent, cells, &layout, view.color);
        }
        out
    }

    fn line<'a>(
        &self,
        out: &mut String,
        indent: &str,
        cells: impl Iterator<Item = (&'a str, Tone)>,
        layout: &[Option<usize>],
        color: bool,
    ) {
        let start = out.len();
        let mut gap = indent;
        for ((text, tone), (column, most)) in cells.zip(self.columns.iter().zip(layout)) {
            let Some(most) = *most else { continue };
            let shown = cut(text, most);
            let padding = " ".repeat(most.saturating_sub(width(&shown)));
            let painted = tone.paint(&shown, color);
            out.push_str(gap);
            out.extend(if column.right {
                [padding, painted]
            } else {
                [painted, padding]
            });
            gap = GAP;
        }
        out.truncate(start + out[start..].trim_end_matches(' ').len());
        out.push('\n');
    }

    /// The width of each column, `None` for one that is left out: what its widest cell needs, less what the terminal does not
    /// have. Wide tables leave nothing out.
    fn layout(&self, most: Option<usize>, wide: bool) -> Vec<Option<usize>> {
        let mut widths: Vec<_> = self
            .columns
            .iter()
            .map(|column| width(column.title))
            .collect();
        for row in &self.rows {
            for (have, cell) in widths.iter_mut().zip(row) {
                *have = (*have).max(width(&cell.text));
            }
        }
        let mut layout: Vec<_> = widths.into_iter().map(Some).collect();
        if let Some(most) = most {
            if !wide {
                self.leave_out(&mut layout, most);
            }
            self.shrink(&mut layout, most);
        }
        layout
    }

    /// Leaves out what can be missed until the least widths fit.
    fn leave_out(&self, layout: &mut [Option<usize>], most: usize) {
        for (at, column) in self.columns.iter().enumerate().rev() {
            let floors = self.columns.iter().zip(layout.iter());
            let floors = floors.map(|(column, need)| need.map(|need| column.floor(need)));
            if total(floors) <= most {
                return;
            }
            if column.optional {
                layout[at] = None;
            }
        }
    }

    /// Takes from the widest column that may shrink until all fit; when they cannot, only what is far too wide is cut.
    fn shrink(&self, layout: &mut [Option<usize>], most: usize) {
        let mut shrunk = layout.to_vec();
        while total(shrunk.iter().copied()) > most {
            let columns = self.columns.iter().zip(shrunk.iter_mut());
            let widest = columns
                .filter_map(|(column, have)| {
                    have.as_mut().filter(|have| column.floor(**have) < **have)
                })
                .max();
            let Some(widest) = widest else {
                for (column, have) in self.columns.iter().zip(layout) {
                    *have = have.map(|have| have.min(column.floor(have).max(WRAPPED_WIDTH_MAX)));
                }
                return;
            };
            *widest -= 1;
        }
        layout.copy_from_slice(&shrunk);
    }
}

/// Columns of the terminal that a line takes.
fn total(widths: impl Iterator<Item = Option<usize>>) -> usize {
    let (columns, sum) = widths
        .flatten()
        .fold((0, 0), |(columns, sum), have| (columns + 1, sum + have));
    sum + GAP.len() * usize::saturating_sub(columns, 1)
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
        assert_eq!(
            narrow(30),
            "NAME     READY  STATE  TEXT\n\
             celery      12  OK     a long…\n\
             日本語…      3  -      x\n"
        );
    }

    #[test]
    fn what_can_be_missed_goes_before_lines_wrap() {
        let mut table = Table::new(vec![
            fixed("ID"),
            text("NAME", 4),
            number("READY").optional(),
            text("WORKER", 6).optional(),
        ]);
        table.row(vec![
            "4bb9ac42".into(),
            "shop.add".into(),
            "12".into(),
            "celery@w1".into(),
        ]);
        let narrow = |most| {
            let mut view = view();
            view.width = Some(most);
            table.render(&view)
        };
        for (most, want) in [
            (
                36,
                "ID        NAME      READY  WORKER\n4bb9ac42  shop.add     12  celery@w1\n",
            ),
            (
                29,
                "ID        NAME  READY  WORKER\n4bb9ac42  sho…     12  celer…\n",
            ),
            (28, "ID        NAME      READY\n4bb9ac42  shop.add     12\n"),
            (20, "ID        NAME\n4bb9ac42  shop.add\n"),
            (14, "ID        NAME\n4bb9ac42  sho…\n"),
            (5, "ID        NAME\n4bb9ac42  shop.add\n"),
        ] {
            assert_eq!(narrow(most), want, "{most}");
        }
    }

    #[test]
    fn one_long_text_does_not_fill_the_screen_of_lines_that_wrap() {
        let mut table = Table::new(vec![fixed("ID"), text("ARGS", 4)]);
        table.row(vec![
            "x".repeat(50).as_str().into(),
            "y".repeat(500).as_str().into(),
        ]);
        let view = View {
            width: Some(30),
            ..view()
        };
        let shown = table.render(&view);
        let wide = 50 + GAP.len() + WRAPPED_WIDTH_MAX;
        assert_eq!(shown.lines().map(width).max(), Some(wide), "{shown}");
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
