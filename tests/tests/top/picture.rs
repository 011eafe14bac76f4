//! The picture of the README: a screen of the demo app of `deploy/quickstart`, drawn as SVG. Made on request:
//! `cargo test -p celeriac-tests --test top -- --ignored picture`.

use std::fmt::Write as _;
use std::time::Duration;

use celeriac_tests::{Aggregator, Process, Redis, paths, turn};

use crate::top;

/// For how long the shop is busy before the picture is taken: the line of starts is two minutes wide.
const BUSY: Duration = Duration::from_secs(100);
const COLUMNS: u16 = 116;
const ROWS: u16 = 30;

/// One cell, in units of the picture.
const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 16.0;
const BAR: f64 = 32.0;

const BACKGROUND: &str = "#16161e";
const FOREGROUND: &str = "#c8d0f0";
/// The sixteen colours, as far as they are used: black, red, green, yellow, blue, magenta, cyan, white.
const PALETTE: [&str; 8] = [
    "#32344a", "#f7768e", "#9ece6a", "#e0af68", "#7aa2f7", "#ad8ee6", "#57c7d4", "#c8d0f0",
];

#[tokio::test]
#[ignore = "draws the picture of the README anew, from a run of two minutes"]
async fn picture() {
    let _turn = turn().await;
    let redis = Redis::start();
    let aggregator = Aggregator::builder()
        .broker(&format!("shop={}", redis.url()))
        .start()
        .await;
    aggregator.subscribed().await;
    let schedule = tempfile::tempdir().expect("the temporary folder is writable");
    let python = |name: &str, words: &[&str]| {
        Process::start(name, paths::python("5.7"), |command| {
            command
                .args(["-m", "celery", "-A", "shop"])
                .args(words)
                .env("SHOP_BROKER", redis.url())
                .env("PYTHONPATH", paths::root().join("deploy/demo"))
                .env("PYTHONDONTWRITEBYTECODE", "1");
        })
    };
    let file = schedule.path().join("schedule").display().to_string();
    let front = "worker -n front@demo -Q orders,mail -P prefork -c 2 -E";
    let back = "worker -n back@demo -Q media,reports -P threads -c 4 -E";
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    let _shop = [
        python("front", &words(front)),
        python("back", &words(back)),
        python("beat", &["beat", "-s", &file]),
    ];
    let tty = top(aggregator.address(), COLUMNS, ROWS);
    tty.shows("2 online of 2");
    tokio::time::sleep(BUSY).await;
    let svg = tty.screen(svg);
    let path = paths::root().join("deploy/top.svg");
    std::fs::write(&path, svg).expect("the checkout is writable");
}

#[test]
fn a_screen_becomes_a_picture_with_its_text_and_colours() {
    let size = |count| std::num::NonZeroU16::new(count).expect("not zero");
    let mut parser = vt100::Parser::new(size(3), size(20), 0);
    parser.process(b"a<b \x1b[31mred\x1b[0m \x1b[7minv\x1b[0m");
    parser.process("\r\n▁█".as_bytes());
    let svg = svg(parser.screen());
    for part in [
        ">a&lt;b</text>",
        "fill=\"#f7768e\"",
        ">red</text>",
        "fill=\"#16161e\"",
        ">inv</text>",
    ] {
        assert!(svg.contains(part), "{part} in\n{svg}");
    }
    assert!(
        !svg.contains('█'),
        "bars are drawn, not written: fonts differ in them"
    );
}

/// How a cell looks.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    ink: &'static str,
    paper: Option<&'static str>,
    bold: bool,
    dim: bool,
}

fn look(cell: &vt100::Cell) -> Look {
    let color = |color: vt100::Color| match color {
        vt100::Color::Idx(index) => PALETTE.get(usize::from(index % 8)).copied(),
        vt100::Color::Default | vt100::Color::Rgb(..) => None,
    };
    let (ink, paper) = (color(cell.fgcolor()), color(cell.bgcolor()));
    let (ink, paper) = if cell.inverse() {
        (paper.unwrap_or(BACKGROUND), Some(ink.unwrap_or(FOREGROUND)))
    } else {
        (ink.unwrap_or(FOREGROUND), paper)
    };
    Look {
        ink,
        paper,
        bold: cell.bold(),
        dim: cell.dim(),
    }
}

/// The height of a bar in eighths, if the character is one.
fn bar(text: &str) -> Option<u32> {
    let c = text.chars().next()?;
    ('▁'..='█').contains(&c).then(|| u32::from(c) - 0x2580)
}

/// The screen as a picture.
fn svg(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let width = f64::from(columns.get()) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(rows.get()) * CELL.1 + MARGIN + BAR;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" \
         shape-rendering=\"crispEdges\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"9\" shape-rendering=\"auto\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (at, color) in ["#f7768e", "#e0af68", "#9ece6a"].into_iter().enumerate() {
        let x = MARGIN + 5.0 + 19.0 * f64::from(u8::try_from(at).unwrap_or(0));
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"16\" r=\"5.5\" shape-rendering=\"auto\" fill=\"{color}\"/>"
        );
    }
    for row in 0..rows.get() {
        let mut column = 0;
        while column < columns.get() {
            column = run(screen, row, column, columns.get(), &mut out);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Draws cells of one look side by side, and returns the column behind them.
fn run(screen: &vt100::Screen, row: u16, start: u16, columns: u16, out: &mut String) -> u16 {
    let Some(first) = screen.cell(row, start) else {
        return columns;
    };
    let same = look(first);
    let mut end = start;
    let mut text = String::new();
    let (x, y) = (
        f64::from(start) * CELL.0 + MARGIN,
        f64::from(row) * CELL.1 + BAR,
    );
    let mut bars = String::new();
    while end < columns
        && let Some(cell) = screen.cell(row, end)
        && look(cell) == same
    {
        match bar(cell.contents()) {
            Some(eighths) => {
                let tall = f64::from(eighths) * CELL.1 / 8.0;
                let (left, top) = (f64::from(end) * CELL.0 + MARGIN, y + CELL.1 - tall);
                let _ = writeln!(
                    bars,
                    "<rect x=\"{left:.1}\" y=\"{top:.2}\" width=\"{:.1}\" height=\"{tall:.2}\" fill=\"{}\"/>",
                    CELL.0, same.ink
                );
                text.push(' ');
            }
            None if cell.contents().is_empty() => text.push(' '),
            None => text.push_str(cell.contents()),
        }
        end += 1;
    }
    let wide = f64::from(end - start) * CELL.0;
    if let Some(paper) = same.paper {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"{paper}\"/>",
            CELL.1
        );
    }
    out.push_str(&bars);
    words(&text, x, y, same, out);
    end
}

/// Writes each word at its own place, so that a reader's font of another width does not move columns.
fn words(text: &str, x: f64, y: f64, look: Look, out: &mut String) {
    let mut style = format!("fill=\"{}\"", look.ink);
    if look.bold {
        style.push_str(" font-weight=\"bold\"");
    }
    if look.dim {
        style.push_str(" opacity=\"0.62\"");
    }
    let mut column = 0_u32;
    for word in text.split(' ') {
        let count = u32::try_from(word.chars().count()).unwrap_or(u32::MAX);
        if count > 0 {
            let left = x + f64::from(column) * CELL.0;
            let base = y + CELL.1 - 4.5;
            let word = word.replace('&', "&amp;").replace('<', "&lt;");
            let _ = writeln!(
                out,
                "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{:.1}\" {style}>{word}</text>",
                f64::from(count) * CELL.0
            );
        }
        column += count + 1;
    }
}
