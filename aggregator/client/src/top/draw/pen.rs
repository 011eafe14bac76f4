//! Writing on cells: text in tones, cut to its place.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use crate::render::text::{Tone, cut};

/// Writes on a buffer, with colours or without. It uses the sixteen colours that every terminal has, in the person's own
/// palette, and says nothing by colour alone.
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    color: bool,
}

impl<'a> Pen<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, color: bool) -> Self {
        Self { buffer, color }
    }

    fn style(&self, tone: Tone) -> Style {
        let of = |color: Color| {
            if self.color {
                Style::new().fg(color)
            } else {
                Style::new()
            }
        };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Good => of(Color::Green),
            Tone::Bad => of(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Busy => of(Color::Cyan),
            Tone::Warn => of(Color::Yellow),
            Tone::Dim => Style::new().add_modifier(Modifier::DIM),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
        }
    }

    fn put(&mut self, area: Rect, text: &str, style: Style) -> u16 {
        let area = area.intersection(self.buffer.area);
        if area.is_empty() {
            return 0;
        }
        let shown = cut(text, area.width.into());
        let (end, _) = self
            .buffer
            .set_stringn(area.x, area.y, &shown, area.width.into(), style);
        end - area.x
    }

    /// Writes at the left, and returns the columns used.
    pub(super) fn text(&mut self, area: Rect, text: &str, tone: Tone) -> u16 {
        let style = self.style(tone);
        self.put(area, text, style)
    }

    /// Writes what is chosen: reversed.
    pub(super) fn selected(&mut self, area: Rect, text: &str) -> u16 {
        let style = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
        self.put(area, text, style)
    }

    /// Writes at the right, and returns the columns used.
    pub(super) fn right(&mut self, area: Rect, text: &str, tone: Tone) -> u16 {
        let width = u16::try_from(crate::render::text::width(text)).unwrap_or(u16::MAX);
        let width = width.min(area.width);
        let place = Rect {
            x: area.x + area.width - width,
            width,
            ..area
        };
        self.text(place, text, tone)
    }

    /// Reverses a row: the cursor.
    pub(super) fn reverse(&mut self, area: Rect) {
        let area = area.intersection(self.buffer.area);
        let style = Style::new().add_modifier(Modifier::REVERSED);
        self.buffer.set_style(area, style);
    }

    /// Clears a place and draws a box around it with a title.
    pub(super) fn frame(&mut self, area: Rect, title: &str, tone: Tone) -> Rect {
        let area = area.intersection(self.buffer.area);
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                if let Some(cell) = self.buffer.cell_mut((x, y)) {
                    cell.reset();
                }
            }
        }
        if area.width < 2 || area.height < 2 {
            return area;
        }
        let style = self.style(tone);
        let bar = "─".repeat(usize::from(area.width) - 2);
        let top = Rect { height: 1, ..area };
        let bottom = Rect {
            y: area.bottom() - 1,
            ..top
        };
        self.put(top, &format!("┌{bar}┐"), style);
        self.put(bottom, &format!("└{bar}┘"), style);
        for y in area.top() + 1..area.bottom() - 1 {
            let left = Rect::new(area.x, y, 1, 1);
            let right = Rect::new(area.right() - 1, y, 1, 1);
            self.put(left, "│", style);
            self.put(right, "│", style);
        }
        let place = Rect::new(area.x + 2, area.y, area.width.saturating_sub(4), 1);
        self.put(
            place,
            &format!(" {title} "),
            style.add_modifier(Modifier::BOLD),
        );
        Rect::new(
            area.x + 2,
            area.y + 1,
            area.width.saturating_sub(4),
            area.height - 2,
        )
    }

    /// A bar of so many of the whole in columns, with what is left in dots.
    pub(super) fn gauge(&mut self, area: Rect, part: f64, tone: Tone) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the width of the area"
        )]
        let filled = (part.clamp(0.0, 1.0) * f64::from(area.width)).round() as u16;
        let bar = "█".repeat(filled.into());
        self.text(area, &bar, tone);
        let rest = Rect {
            x: area.x + filled,
            width: area.width - filled,
            ..area
        };
        self.text(rest, &".".repeat(rest.width.into()), Tone::Dim);
    }
}
