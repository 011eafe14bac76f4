//! Keys.

use celeriac_client::v1;
use celeriac_client::v1::execute_command_request::Command;
use celeriac_client::v1::watch_item::Item;

use super::*;
use crate::render::fixture;
use crate::top::model::Input;
use crate::top::model::tests::{at, set};

/// Presses keys, one character each; `\n` is Enter, `\x1b` Esc.
fn press(model: &mut Model, keys: &str) -> Vec<Action> {
    keys.chars()
        .flat_map(|c| {
            let key = match c {
                '\n' => Key::Enter,
                '\x1b' => Key::Esc,
                '\t' => Key::Tab,
                c => Key::Char(c),
            };
            update(model, key)
        })
        .collect()
}

fn selected(model: &Model) -> String {
    let rows = rows::names(model);
    rows[model.ui.list().cursor(&rows)].item.name.clone()
}

#[test]
fn the_cursor_stays_on_its_row_when_the_order_changes() {
    let mut model = Model::filled();
    press(&mut model, "4<jjj");
    let name = selected(&model);
    press(&mut model, "r");
    assert_eq!(selected(&model), name, "turned round");
    let before = v1::TaskName {
        name: "aaa".into(),
        ..fixture::task_name()
    };
    model.hear(at(1), set(Item::TaskName(before)));
    press(&mut model, "r");
    assert_eq!(selected(&model), name, "one row more above it");
}

#[test]
fn the_cursor_keeps_within_the_rows_and_on_the_screen() {
    let mut model = Model::filled();
    model.ui.size = (80, 16);
    press(&mut model, "4<");
    update(&mut model, Key::End);
    let rows = rows::names(&model);
    let (state, height) = (model.ui.list(), page(&model));
    assert_eq!(state.cursor(&rows), rows.len() - 1);
    assert_eq!(state.offset(&rows, height), rows.len() - height);
    update(&mut model, Key::PageUp);
    update(&mut model, Key::Up);
    let rows = rows::names(&model);
    let cursor = model.ui.list().cursor(&rows);
    let offset = model.ui.list().offset(&rows, height);
    assert_eq!(cursor, rows.len() - 1 - height - 1);
    assert!((offset..offset + height).contains(&cursor));
    update(&mut model, Key::Home);
    update(&mut model, Key::Up);
    let rows = rows::names(&model);
    assert_eq!(model.ui.list().cursor(&rows), 0);
}

#[test]
fn every_key_is_taken_everywhere_and_none_sends_a_command_without_y() {
    let keys: Vec<Key> = ('!'..='~')
        .filter(|c| !matches!(c, 'y' | 'Y'))
        .map(Key::Char)
        .chain([
            Key::Enter,
            Key::Esc,
            Key::Tab,
            Key::BackTab,
            Key::Up,
            Key::Down,
            Key::Left,
            Key::Right,
            Key::PageUp,
            Key::PageDown,
            Key::Home,
            Key::End,
            Key::Backspace,
            Key::Ctrl('u'),
            Key::Ctrl('w'),
            Key::Ctrl('f'),
            Key::Ctrl('b'),
        ])
        .collect();
    // A fixed walk, so that a failure can be had again.
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    for model in [crate::top::model::tests::model(), Model::filled()] {
        let mut model = model;
        for _ in 0..20_000 {
            let actions = update(&mut model, keys[random(keys.len())]);
            let sends = actions
                .iter()
                .any(|action| matches!(action, Action::Send(_)));
            assert!(!sends, "{actions:?}");
            assert!(model.ui.overlays.len() <= 4, "{:?}", model.ui.overlays);
        }
    }
}

#[test]
fn a_worker_is_told_what_was_confirmed_and_nothing_else() {
    for (keys, command) in [
        ("2c+y", Command::PoolGrow(v1::PoolGrowCommand { count: 1 })),
        ("2cSy", Command::Shutdown(v1::ShutdownCommand {})),
        ("2cdy", Command::DisableEvents(v1::DisableEventsCommand {})),
        ("2\ncpy", Command::Ping(v1::PingCommand {})),
        (
            "2cx mail \ny",
            Command::CancelConsumer(v1::CancelConsumerCommand {
                queue: "mail".into(),
                drain: false,
            }),
        ),
    ] {
        let mut model = Model::filled();
        let actions = press(&mut model, keys);
        let Some(Action::Send(request)) = actions.last() else {
            panic!("{keys}: {actions:?}")
        };
        assert_eq!(request.command, Some(command), "{keys}");
        assert_eq!(request.destination, ["celery@w1"], "{keys}");
        assert!(!request.all_workers && request.app == "shop", "{keys}");
        assert!(
            matches!(model.ui.overlays.last(), Some(Overlay::Sent(_))),
            "{keys}"
        );
    }
    for keys in ["2c+n", "2c+\x1b", "2cSq", "2c\x1b", "2cx\n\n\n"] {
        let mut model = Model::filled();
        let actions = press(&mut model, keys);
        assert!(
            !actions
                .iter()
                .any(|action| matches!(action, Action::Send(_))),
            "{keys}"
        );
    }
}

#[test]
fn a_task_is_revoked_on_all_workers() {
    let mut model = Model::filled();
    let actions = press(&mut model, "6cKy");
    let Some(Action::Send(request)) = actions.last() else {
        panic!("{actions:?}")
    };
    assert!(request.all_workers && request.destination.is_empty());
    let Some(Command::Revoke(revoke)) = &request.command else {
        panic!("{request:?}")
    };
    assert_eq!(revoke.task_ids, [fixture::failed().id]);
    assert_eq!(
        (revoke.terminate, revoke.signal.as_str()),
        (true, "SIGKILL")
    );
}

#[test]
fn an_answer_finds_its_command_and_one_that_was_closed_is_told_in_a_line() {
    let mut model = Model::filled();
    press(&mut model, "2cpy");
    model.ui.identify("id-1");
    let record = || {
        Ok(Box::new(v1::CommandRecord {
            outcome: v1::CommandOutcome::Published.into(),
            ..Default::default()
        }))
    };
    let sent = |id: &str| Input::Sent {
        request_id: id.into(),
        outcome: record(),
    };
    model.apply(at(1), sent("id-1"));
    let Some(Overlay::Sent(shown)) = model.ui.overlays.last() else {
        panic!("{:?}", model.ui.overlays)
    };
    assert!(shown.outcome.is_some());
    press(&mut model, "q");
    model.apply(at(2), sent("id-2"));
    assert!(
        model
            .ui
            .notice
            .as_deref()
            .is_some_and(|notice| notice.contains("id-2"))
    );
}

#[test]
fn enter_on_a_name_lists_its_tasks_with_the_name_quoted() {
    let mut model = Model::filled();
    let odd = v1::Queue {
        name: "a\"b\\c".into(),
        ready: Some(9_999),
        ..fixture::queue()
    };
    model.hear(at(1), set(Item::Queue(odd)));
    let actions = press(&mut model, "3\n");
    let [Action::ListTasks { request, .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(request.filter, r#"queue = "a\"b\\c""#);
    assert_eq!(model.ui.view, View::Tasks);
    press(&mut model, "\x1b");
    assert!(!model.tasks.narrowed(), "Esc takes it away");
}

#[test]
fn esc_closes_and_clears_and_does_not_quit() {
    let mut model = Model::filled();
    press(&mut model, "4/mail\n");
    assert_eq!(rows::names(&model).len(), 1);
    assert_eq!(press(&mut model, "?\x1b\x1b\x1b\x1b"), []);
    assert_eq!(rows::names(&model).len(), 41);
    assert_eq!(model.ui.notice.as_deref(), Some("q quits"));
    assert_eq!(press(&mut model, "q"), [Action::Quit]);
    press(&mut model, "4/");
    assert_eq!(press(&mut model, "q"), [], "typed into the filter");
    assert_eq!(update(&mut model, Key::Ctrl('c')), [Action::Quit]);
}
