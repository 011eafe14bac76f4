//! An event as one line for people: time, type, worker, and what matters of it. Nothing in an event can drive the terminal.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;

use ahash::{HashMap, HashMapExt};
use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::wire::event::Event;

/// Tasks whose names are remembered: only the first events of a task carry its name.
const NAMES_MAX: usize = 20_000;

/// Characters of arguments, results and exceptions that are shown.
const TEXT_MAX: usize = 160;

/// Names of the latest tasks, by id.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<Rc<str>, Rc<str>>,
    order: VecDeque<Rc<str>>,
}

impl Names {
    /// The name of the event's task, where it or an earlier event told it.
    pub(super) fn name(&mut self, event: &Event<'_>) -> Option<Rc<str>> {
        let uuid = event.uuid.as_deref()?;
        let Some(name) = event.name.as_deref() else {
            return self.known.get(uuid).cloned();
        };
        if let Some(known) = self.known.get(uuid) {
            return Some(known.clone());
        }
        if self.order.len() >= NAMES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.capacity() == 0 {
            self.known = HashMap::with_capacity(64);
        }
        let (uuid, name): (Rc<str>, Rc<str>) = (uuid.into(), name.into());
        self.known.insert(uuid.clone(), name.clone());
        self.order.push_back(uuid);
        Some(name)
    }
}

/// Appends `event` as one line.
pub(super) fn write(line: &mut Vec<u8>, event: &Event<'_>, name: Option<&str>) {
    let style = style(&event.event_type);
    let kind = escaped(&event.event_type, TEXT_MAX);
    let mut text = String::new();
    subject(&mut text, event, name);
    details(&mut text, event);
    let time = Timestamp::from_microsecond(event.received_micros).unwrap_or(Timestamp::UNIX_EPOCH);
    let time = time.strftime("%H:%M:%S%.3fZ");
    let hostname = escaped(&event.hostname, TEXT_MAX);
    // Into memory, where writing does not fail.
    let _ = writeln!(
        line,
        "{time} {style}{kind:<16}{style:#} {hostname:<20}{text}"
    );
}

fn style(event_type: &str) -> Style {
    let colour = match event_type {
        "task-succeeded" | "worker-online" => AnsiColor::Green,
        "task-failed" | "worker-offline" => AnsiColor::Red,
        "task-retried" | "task-revoked" | "task-rejected" => AnsiColor::Yellow,
        "task-started" => AnsiColor::Blue,
        "worker-heartbeat" => return Style::new().dimmed(),
        _ => return Style::new(),
    };
    Style::new().fg_color(Some(colour.into()))
}

/// The task.
fn subject(text: &mut String, event: &Event<'_>, name: Option<&str>) {
    let Some(uuid) = &event.uuid else { return };
    let uuid = escaped(uuid, TEXT_MAX);
    let _ = match name {
        Some(name) => write!(text, " {}[{uuid}]", escaped(name, TEXT_MAX)),
        None => write!(text, " [{uuid}]"),
    };
}

/// What matters of it: ` name=value` for each field that is there and says something.
fn details(text: &mut String, event: &Event<'_>) {
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, " {name}={value}");
        }
    };
    let shown = |value: &Option<Cow<'_, str>>| value.as_ref().map(|value| escaped(value, TEXT_MAX));
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let flag = |value: Option<bool>| value.filter(|set| *set).map(|_| "yes".to_owned());
    say("queue", shown(&event.queue));
    say("args", shown(&event.args));
    say(
        "kwargs",
        shown(&event.kwargs).filter(|kwargs| kwargs != "{}"),
    );
    let retries = event.retries.filter(|retries| *retries > 0);
    say("retries", retries.map(|retries| retries.to_string()));
    say("eta", shown(&event.eta));
    say("runtime", event.runtime.map(time));
    say("result", shown(&event.result));
    say("exception", shown(&event.exception));
    say("terminated", flag(event.terminated));
    say("expired", flag(event.expired));
    say("requeue", flag(event.requeue));
    say("signal", shown(&event.signum));
    say("pid", number(event.pid.filter(|_| event.uuid.is_none())));
    say("active", number(event.active));
    say("processed", number(event.processed));
    let load: Vec<String> = event
        .loadavg
        .iter()
        .map(|load| format!("{load:.2}"))
        .collect();
    say("load", (!load.is_empty()).then(|| load.join("/")));
    for (name, json) in &event.custom {
        say(&escaped(name, TEXT_MAX), Some(escaped(json, TEXT_MAX)));
    }
}

/// Seconds as people say them.
fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0}ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        format!(
            "{:.0}m{:02.0}s",
            (seconds / 60.0).floor(),
            (seconds % 60.0).floor()
        )
    }
}

/// The beginning of `text` with everything escaped that is not plainly visible.
fn escaped(text: &str, characters_max: usize) -> String {
    let mut escaped = String::with_capacity(text.len().min(characters_max));
    for (place, character) in text.chars().enumerate() {
        if place == characters_max {
            escaped.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => escaped.push(character),
            other => escaped.extend(other.escape_debug()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line without colours, as a pipe shows it.
    fn line(event: &Event<'_>, name: Option<&str>) -> String {
        let mut line = Vec::new();
        write(&mut line, event, name);
        let mut plain = anstream::StripStream::new(Vec::new());
        plain.write_all(&line).expect("memory takes everything");
        String::from_utf8(plain.into_inner()).expect("lines are UTF-8")
    }

    fn event(event_type: &str) -> Event<'_> {
        Event {
            event_type: event_type.into(),
            hostname: "celery@w1".into(),
            received_micros: 1_795_347_434_590_429,
            ..Event::default()
        }
    }

    #[test]
    fn a_line_says_when_what_where_and_what_matters() {
        let started = Event {
            uuid: Some("u-1".into()),
            ..event("task-started")
        };
        assert_eq!(
            line(&started, Some("demo.add")),
            "11:37:14.590Z task-started     celery@w1            demo.add[u-1]\n"
        );
        let succeeded = Event {
            uuid: Some("u-1".into()),
            runtime: Some(0.087),
            result: Some("'ok'".into()),
            ..event("task-succeeded")
        };
        assert_eq!(
            line(&succeeded, None),
            "11:37:14.590Z task-succeeded   celery@w1            [u-1] runtime=87ms result='ok'\n"
        );
        let heartbeat = Event {
            pid: Some(556),
            active: Some(1),
            processed: Some(29),
            loadavg: vec![5.95, 7.0, 6.754],
            ..event("worker-heartbeat")
        };
        assert_eq!(
            line(&heartbeat, None),
            "11:37:14.590Z worker-heartbeat celery@w1            pid=556 active=1 processed=29 load=5.95/7.00/6.75\n"
        );
    }

    #[test]
    fn task_data_cannot_drive_the_terminal() {
        let hostile = Event {
            uuid: Some("u\n2".into()),
            args: Some("('\x1b[2J\u{202e}',)".into()),
            custom: vec![("a\rb".into(), "\"\u{7}\"".into())],
            ..event("task-\x1b]0;title\x07")
        };
        let mut line = Vec::new();
        write(&mut line, &hostile, Some("n\x1b[31m"));
        let text = String::from_utf8(line).expect("lines are UTF-8");
        assert_eq!(text.matches('\n').count(), 1);
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn long_texts_are_cut() {
        let long = Event {
            exception: Some("x".repeat(5_000).into()),
            ..event("task-failed")
        };
        let line = line(&long, None);
        assert!(
            line.chars().count() < 250 && line.ends_with("…\n"),
            "{line}"
        );
    }

    #[test]
    fn names_are_remembered_for_a_bounded_number_of_tasks() {
        let mut names = Names::default();
        let received = |uuid: &str| Event {
            uuid: Some(uuid.to_owned().into()),
            name: Some(format!("name-of-{uuid}").into()),
            ..event("task-received")
        };
        let started = |uuid: &str| Event {
            uuid: Some(uuid.to_owned().into()),
            ..event("task-started")
        };
        names.name(&received("first"));
        assert_eq!(
            names.name(&started("first")).as_deref(),
            Some("name-of-first")
        );
        assert_eq!(names.name(&started("other")), None);
        for number in 0..NAMES_MAX {
            names.name(&received(&number.to_string()));
        }
        assert_eq!(names.name(&started("first")), None);
        assert_eq!(names.known.len(), NAMES_MAX);
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let said: Vec<String> = [0.0004, 0.087, 1.25, 59.94, 134.9].map(time).into();
        assert_eq!(said, ["0ms", "87ms", "1.2s", "59.9s", "2m14s"]);
    }
}
