//! What is on the screen, at sizes that people have and at some that they do not.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::render::fixture;
use crate::render::text::is_control;
use crate::top::model::Input;
use crate::top::model::tests::{at, set};
use crate::top::update::{Key, update};
use celeriac_client::v1::watch_item::Item;

fn style() -> Style {
    Style {
        color: true,
        unicode: true,
        times: Times::Relative,
        zone: TimeZone::UTC,
    }
}

/// The lines of the screen.
fn screen(model: &mut Model, style: &Style, width: u16, height: u16) -> Vec<String> {
    model.ui.size = (width, height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no terminal to fail");
    terminal
        .draw(|frame| draw(model, style, frame))
        .expect("no terminal to fail");
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|y| {
            let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect()
}

fn at_80(model: &mut Model) -> String {
    screen(model, &style(), 80, 24).join("\n")
}

fn keys(model: &mut Model, text: &str) {
    for c in text.chars() {
        let key = match c {
            '\n' => Key::Enter,
            c => Key::Char(c),
        };
        update(model, key);
    }
}

/// All words are on the screen.
fn has(screen: &str, words: &[&str]) {
    for word in words {
        assert!(screen.contains(word), "{word:?} in\n{screen}");
    }
}

#[test]
fn the_overview_has_the_numbers_that_matter() {
    let mut model = Model::filled();
    let screen = at_80(&mut model);
    has(
        &screen,
        &[
            "celeriac top  shop  redis://127.0.0.1:6379/0",
            "live 02:02:03Z",
            "Workers  2 online of 3    Busy  3 of 6 slots",
            "Ready    120    Unacked  -    Unfinished  14    Events  2703",
            "celery    120       ~8  ~4m10s          2",
            "Latest failures",
            "15s ago  shop.mail  ValueError('boom')",
            "! advice: task events are off; start the worker with -E [celery@w3]",
        ],
    );
}

#[test]
fn workers_are_shown_with_what_is_wrong_with_them() {
    let mut model = Model::filled();
    keys(&mut model, "2");
    let screen = at_80(&mut model);
    has(
        &screen,
        &[
            "WORKER▲    STATE   POOL     BUSY  PROCESSED  START/S  LOAD  FLAGS",
            "celery@w1  ONLINE  prefork   2/4        650        -  0.50",
            "celery@w3  SILENT",
            "events off",
        ],
    );
    let wide = self::screen(&mut model, &style(), 200, 24).join("\n");
    has(&wide, &["celery,mail", "1s ago"]);
}

#[test]
fn queues_have_priorities_and_say_how_an_age_is_known() {
    let mut model = Model::filled();
    keys(&mut model, "3");
    let screen = at_80(&mut model);
    has(
        &screen,
        &[
            "READY▼ UNACKED  ACTIVE  OLDEST  BY         CONSUMERS  PRIORITIES",
            "120       ~8       3  ~4m10s  estimated          2  0:100 3:20",
        ],
    );
}

#[test]
fn names_have_rates_failures_and_runtimes() {
    let mut model = Model::filled();
    for second in 0..=10_u32 {
        let name = v1::TaskName {
            name: "shop.mail".into(),
            started: 680 + u64::from(second) * 5,
            failed: 8 + u64::from(second),
            ..fixture::task_name()
        };
        model.hear(at(second.into()), set(Item::TaskName(name)));
        model.tick(at(second.into()));
    }
    keys(&mut model, "4");
    let screen = at_80(&mut model);
    let row = screen.lines().nth(3).expect("a first row");
    assert!(row.starts_with("shop.mail"), "the fastest first:\n{screen}");
    has(row, &["5.0", "1.0", "640", "18", "12", "180ms", "2.4s"]);
    has(&screen, &["1-19 of 41"]);
}

#[test]
fn tasks_are_shown_with_their_order_and_an_error_in_its_words() {
    let mut model = Model::filled();
    keys(&mut model, "5");
    assert!(at_80(&mut model).contains("loading"));
    let page = v1::ListTasksResponse {
        tasks: vec![fixture::done(), fixture::failed(), fixture::lost()],
        next_page_token: "more".into(),
        as_of: fixture::ago(0),
        scan: None,
    };
    let input = |last| Input::Tasks {
        generation: 1,
        page: page.clone(),
        last,
    };
    model.apply(at(0), input(true));
    has(
        &at_80(&mut model),
        &[
            "by first_seen desc  3+ shown",
            "shop.add   SUCCESS            12ms  35s ago",
            "STARTED (lost)",
        ],
    );
    let error = "unknown field `foo`\x1b[2J".to_owned();
    model.apply(
        at(0),
        Input::TasksFailed {
            generation: 1,
            error,
        },
    );
    has(&at_80(&mut model), &["unknown field `foo`\\x1b[2J"]);
}

#[test]
fn a_broken_connection_and_an_open_gap_are_said() {
    let mut model = Model::filled();
    model.apply(at(3), Input::Interrupted("connection reset".into()));
    has(
        &at_80(&mut model),
        &[
            "reconnecting, 3s old",
            "! connection reset",
            "2 online of 3",
        ],
    );
    keys(&mut model, "a");
    has(
        &at_80(&mut model),
        &["1 gap in the last 10 minutes, 7 task starts known to be missed"],
    );
    keys(&mut model, "a");
    model.tick(at(600));
    keys(&mut model, "a");
    assert!(!at_80(&mut model).contains("in the last 10 minutes"));
    keys(&mut model, "a");
    let mut app = fixture::app();
    app.gaps[0].end_time = None;
    model.hear(at(4), set(Item::App(app)));
    has(
        &at_80(&mut model),
        &["! 1 open gap: events are being missed"],
    );
    keys(&mut model, "a");
    has(
        &at_80(&mut model),
        &[
            "Advice and gaps",
            "reconnect, from 1m ago and still open, all workers, 7 starts missed: the",
        ],
    );
    model.tick(at(60));
    keys(&mut model, "a");
    has(&at_80(&mut model), &["stale, 56s old"]);
}

#[test]
fn a_task_at_length_is_wrapped_and_scrolled_to_its_end() {
    let mut model = Model::filled();
    keys(&mut model, "6\n");
    let mut task = fixture::failed();
    if let Some(payload) = &mut task.payload {
        payload.args = Some(format!("begin{}end", "x".repeat(300)));
    }
    let target = crate::top::model::ui::Target::Task {
        app: task.app.clone(),
        id: task.id.clone(),
    };
    let thing = Ok(Box::new(crate::top::model::ui::Thing::Task(task)));
    model.apply(at(0), Input::Thing { target, thing });
    let mut seen = String::new();
    for _ in 0..60 {
        seen.push_str(&at_80(&mut model));
        update(&mut model, Key::Down);
    }
    has(
        &seen,
        &[
            "beginxxx",
            "xxxend",
            "Traceback",
            "ValueError: boom",
            "progress = 0.5",
        ],
    );
    // Wherever it was scrolled to, the end is on the screen.
    has(&at_80(&mut model), &["progress = 0.5"]);
}

#[test]
fn a_question_names_the_command_and_the_worker() {
    let mut model = Model::filled();
    keys(&mut model, "2cS");
    has(
        &at_80(&mut model),
        &[
            "Send this command?",
            "shutdown",
            "to celery@w1",
            "This cannot be taken back.",
            "y sends it, n does not",
        ],
    );
}

/// Every view and overlay at every size: nothing panics, nothing is written outside, nothing that a terminal obeys.
#[test]
fn it_fits_any_terminal() {
    let evil = "\x1b[2J\u{9b}31m\u{202e}\r\n\t\x07日本";
    let walks = [
        "1", "2", "3", "4", "5", "6", "2\n", "6\n", "?", "a", "2c", "2cS", "2ca", "2cpy", "5/x",
        "3/y",
    ];
    for walk in walks {
        let mut model = Model::filled();
        let queue = v1::Queue {
            name: evil.into(),
            ..fixture::queue()
        };
        let failure = v1::Task {
            name: Some(evil.into()),
            exception_summary: Some(evil.into()),
            id: evil.into(),
            ..fixture::failed()
        };
        model.hear(at(0), set(Item::Queue(queue)));
        model.hear(at(0), set(Item::Task(failure)));
        keys(&mut model, walk);
        for (width, height) in [
            (1, 1),
            (5, 3),
            (30, 8),
            (31, 9),
            (40, 10),
            (80, 24),
            (132, 43),
            (300, 100),
            (20, 200),
            (400, 8),
        ] {
            for unicode in [true, false] {
                let style = Style { unicode, ..style() };
                let lines = screen(&mut model, &style, width, height);
                let text = lines.concat();
                assert!(
                    !text.contains(is_control),
                    "{walk:?} {width}x{height}: {text:?}"
                );
                assert!(
                    unicode || text.is_ascii(),
                    "{walk:?} {width}x{height}: {text:?}"
                );
            }
        }
    }
}

#[test]
fn without_colours_nothing_is_coloured() {
    let mut model = Model::filled();
    for walk in ["1", "2", "3", "4", "5", "6", "?"] {
        keys(&mut model, walk);
        let style = Style {
            color: false,
            ..style()
        };
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).expect("no terminal to fail");
        terminal
            .draw(|frame| draw(&model, &style, frame))
            .expect("no terminal to fail");
        let plain = ratatui::style::Color::Reset;
        let cells = &terminal.backend().buffer().content;
        assert!(
            cells
                .iter()
                .all(|cell| cell.fg == plain && cell.bg == plain),
            "{walk}"
        );
    }
}
