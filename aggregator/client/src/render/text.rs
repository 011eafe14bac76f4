//! Text of others on a terminal: made harmless, measured, cut and coloured.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Characters by which data could drive a terminal or disguise itself: C0, DEL, C1, line and paragraph separators,
/// bidirectional controls, the byte order mark and tag characters.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, control characters as Python's `repr` shows them.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_control(c) => {
                let code = u32::from(c);
                let written = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
                written.expect("a String takes all that is written to it");
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The text line by line, each made harmless; tabs become four spaces.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines()
        .map(|line| plain(&line.replace('\t', "    ")).into_owned())
}

/// Columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to at most `most` columns, with `…` for what was cut.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut taken = 0;
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let columns = c.width().unwrap_or(0);
        if taken + columns + 1 > most {
            break;
        }
        taken += columns;
        end = at + c.len_utf8();
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

/// What a colour stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// Done and well.
    Good,
    /// Failed or gone.
    Bad,
    /// Running.
    Busy,
    /// To be looked at.
    Warn,
    /// Of less interest.
    Dim,
    /// A heading.
    Strong,
}

impl Tone {
    /// The tone of a task's state.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "SUCCESS" => Self::Good,
            "FAILURE" => Self::Bad,
            "STARTED" => Self::Busy,
            "RETRY" => Self::Warn,
            "REVOKED" | "REJECTED" => Self::Dim,
            _ => Self::Plain,
        }
    }

    /// The text in this tone; unchanged without colours.
    pub(crate) fn paint(self, text: &str, color: bool) -> String {
        let style = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Busy => AnsiColor::Blue.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Dim => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
        };
        if color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_data_reaches_the_terminal_as_a_command() {
        for (data, shown) in [
            ("plain ünïcode 日本", "plain ünïcode 日本"),
            ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
            ("\u{9b}2J", "\\x9b2J"),
            ("a\r\nb\tc\0\x7f", "a\\r\\nb\\tc\\x00\\x7f"),
            ("\u{202e}txt.exe", "\\u202etxt.exe"),
            ("\u{e0041}", "\\U000e0041"),
            ("bell\x07", "bell\\x07"),
        ] {
            assert_eq!(plain(data), shown);
            assert!(!plain(data).contains(is_control));
        }
    }

    #[test]
    fn blocks_keep_their_lines() {
        let block: Vec<_> = lines("Traceback:\r\n\tFile \"x\"\n\x1b]0;title\x07").collect();
        assert_eq!(
            block,
            ["Traceback:", "    File \"x\"", "\\x1b]0;title\\x07"]
        );
    }

    #[test]
    fn cutting_counts_columns() {
        for (text, most, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("abc", 1, "…"),
        ] {
            assert_eq!(cut(text, most), shown, "{text} in {most}");
            assert!(width(&cut(text, most)) <= most, "{text} in {most}");
        }
    }

    #[test]
    fn colours_are_added_only_when_wanted() {
        assert_eq!(Tone::Bad.paint("FAILURE", false), "FAILURE");
        assert_eq!(Tone::Bad.paint("FAILURE", true), "\x1b[31mFAILURE\x1b[0m");
        assert_eq!(Tone::Plain.paint("PENDING", true), "PENDING");
    }
}
