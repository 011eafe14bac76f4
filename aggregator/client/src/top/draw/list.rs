//! A list: titles, rows, the cursor, and a mark where it is cut.

use ratatui::layout::Rect;

use super::pen::Pen;
use crate::render::View;
use crate::render::table::{GAP, Table};
use crate::render::text::{Tone, cut, width};
use crate::top::fields::{self, Field};
use crate::top::model::lists::ListState;
use crate::top::model::things::Named;

/// Draws a list that is ordered here, with the column it is ordered by marked. Returns which rows are on the screen.
pub(super) fn draw<T: Named>(
    fields: &[Field<T>],
    rows: &[&T],
    state: &ListState,
    view: &View,
    pen: &mut Pen<'_>,
    area: Rect,
) -> String {
    let mark = if fields
        .get(state.sort)
        .is_some_and(|field| field.is_down(state.reverse))
    {
        "▼"
    } else {
        "▲"
    };
    whole(
        fields,
        rows,
        state,
        view,
        pen,
        area,
        Some((state.sort, mark)),
    )
}

/// Draws a list that is ordered elsewhere. Returns which rows are on the screen.
pub(super) fn draw_unsorted<T: Named>(
    fields: &[Field<T>],
    rows: &[&T],
    state: &ListState,
    view: &View,
    pen: &mut Pen<'_>,
    area: Rect,
) -> String {
    whole(fields, rows, state, view, pen, area, None)
}

fn whole<T: Named>(
    fields: &[Field<T>],
    rows: &[&T],
    state: &ListState,
    view: &View,
    pen: &mut Pen<'_>,
    area: Rect,
    mark: Option<(usize, &str)>,
) -> String {
    if rows.is_empty() {
        pen.text(area, "nothing to show", Tone::Dim);
        return String::new();
    }
    let height = usize::from(area.height.saturating_sub(1));
    let offset = state.offset(rows, height.max(1));
    let shown = &rows[offset..rows.len().min(offset + height)];
    let table = fields::table(fields, shown, view);
    let cursor = state.cursor(rows).checked_sub(offset);
    self::table(&table, cursor, mark, pen, area);
    if shown.len() == rows.len() {
        return String::new();
    }
    format!("{}-{} of {}", offset + 1, offset + shown.len(), rows.len())
}

/// Draws a table under its titles.
pub(super) fn table(
    table: &Table,
    cursor: Option<usize>,
    mark: Option<(usize, &str)>,
    pen: &mut Pen<'_>,
    area: Rect,
) {
    // The last column is kept free for the mark of the order.
    let widths = table.widths(usize::from(area.width.saturating_sub(1)));
    let mut y = area.y;
    let mut x = area.x;
    for (at, (column, most)) in table.columns().iter().zip(&widths).enumerate() {
        let Some(most) = *most else { continue };
        let place = place(area, x, y, most);
        let tone = if mark.is_some_and(|(by, _)| by == at) {
            Tone::Strong
        } else {
            Tone::Dim
        };
        cell(pen, place, column.title(), tone, column.is_right());
        if let Some((_, mark)) = mark.filter(|(by, _)| *by == at) {
            let end = if column.is_right() {
                most
            } else {
                width(column.title()).min(most)
            };
            pen.text(
                self::place(area, x.saturating_add(columns(end)), y, 1),
                mark,
                Tone::Strong,
            );
        }
        x = x.saturating_add(columns(most + GAP.len()));
    }
    for (row, cells) in table.rows().iter().enumerate() {
        y += 1;
        if y >= area.bottom() {
            return;
        }
        let mut x = area.x;
        for ((value, column), most) in cells.iter().zip(table.columns()).zip(&widths) {
            let Some(most) = *most else { continue };
            cell(
                pen,
                place(area, x, y, most),
                value.text(),
                value.tone(),
                column.is_right(),
            );
            x = x.saturating_add(columns(most + GAP.len()));
        }
        if cursor == Some(row) {
            pen.reverse(Rect::new(area.x, y, area.width, 1));
        }
    }
}

fn cell(pen: &mut Pen<'_>, place: Rect, text: &str, tone: Tone, right: bool) {
    let text = cut(text, place.width.into());
    if right {
        pen.right(place, &text, tone);
    } else {
        pen.text(place, &text, tone);
    }
}

/// Columns of the terminal from `x`, as far as the area has them.
fn place(area: Rect, x: u16, y: u16, most: usize) -> Rect {
    let room = area.right().saturating_sub(x);
    Rect::new(x.min(area.right()), y, columns(most).min(room), 1)
}

fn columns(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
