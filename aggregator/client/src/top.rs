//! `top`: a live view on a terminal. The shell around the model: it reads keys and the aggregator, and writes frames. Nothing
//! here decides; `model` and `update` do, and `draw` says what that looks like.

mod draw;
mod feed;
mod fields;
mod model;
mod rows;
mod terminal;
mod update;

use std::io::IsTerminal as _;
use std::time::Duration;

use celeriac_client::{Client, v1};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::draw::Style;
use self::feed::{Feed, Heard};
use self::model::{Action, Model};
use self::terminal::{Guard, Screen};
use self::update::{Key, update};
use crate::output::Failure;
use crate::render::View;

/// The least time between two frames: faster is not seen, and costs a slow line.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// Rates are per second.
const TICK: Duration = Duration::from_secs(1);
/// Keys that were pressed and not handled: a pasted text of some lines. More waits in the terminal.
const KEYS_MAX: usize = 64;
/// Messages taken before keys are looked at again.
const HEARD_AT_ONCE: usize = 256;

/// Runs until the person quits, the terminal is gone, or the aggregator refuses.
///
/// # Errors
///
/// Without a terminal, when the aggregator cannot be reached at first or refuses, and when the terminal cannot be used.
pub(crate) async fn run(client: Client, app: String, view: &View) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::NoTerminal);
    }
    // A wrong address is an error on the usual screen, not an empty view.
    if app.is_empty() {
        client.list_apps(v1::ListAppsRequest::default()).await?;
    } else {
        client
            .get_app(v1::GetAppRequest { app: app.clone() })
            .await?;
    }
    let style = Style {
        color: view.color,
        unicode: speaks_utf8(|name| std::env::var(name).ok()),
        times: view.times,
        zone: view.zone.clone(),
    };
    let guard = Guard::raise()?;
    let ended = Shell::new(client, app, style)?.run().await;
    drop(guard);
    ended
}

/// Whether the locale says UTF-8, as the C library decides it.
fn speaks_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

struct Shell {
    model: Model,
    style: Style,
    screen: Screen,
    feed: Feed,
    heard: mpsc::Receiver<Heard>,
    keys: mpsc::Receiver<Event>,
    /// Whether the screen no longer shows the model.
    dirty: bool,
    drawn: Instant,
}

impl Shell {
    fn new(client: Client, app: String, style: Style) -> Result<Self, Failure> {
        let mut model = Model::new(app.clone(), Timestamp::now());
        model.ui.size = crossterm::terminal::size()?;
        let (feed, heard) = Feed::start(client, app);
        Ok(Self {
            model,
            style,
            screen: Screen::start()?,
            feed,
            heard,
            keys: read_keys(),
            dirty: true,
            drawn: Instant::now(),
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.drawn + FRAME_INTERVAL;
            let (dirty, idle) = (self.dirty, self.screen.is_idle());
            let actions = tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                key = self.keys.recv() => match key {
                    Some(event) => self.event(&event),
                    // The terminal is gone.
                    None => return Ok(()),
                },
                heard = self.heard.recv() => match heard {
                    Some(heard) => self.hear(heard)?,
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    self.dirty = true;
                    self.model.tick(Timestamp::now())
                }
                written = self.screen.written(), if !idle => {
                    written?;
                    Vec::new()
                }
                () = sleep_until(due), if dirty && idle => {
                    self.draw()?;
                    Vec::new()
                }
            };
            for action in actions {
                if action == Action::Quit {
                    return Ok(());
                }
                self.act(action);
            }
        }
    }

    fn event(&mut self, event: &Event) -> Vec<Action> {
        self.dirty = true;
        match event {
            Event::Resize(width, height) => {
                self.model.ui.size = (*width, *height);
                Vec::new()
            }
            Event::Key(key) if key.kind != KeyEventKind::Release => match translated(key) {
                Some(key) => {
                    self.model.now = Timestamp::now();
                    update(&mut self.model, key)
                }
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Takes in what was heard, and what has come meanwhile.
    fn hear(&mut self, first: Heard) -> Result<Vec<Action>, Failure> {
        self.dirty = true;
        let now = Timestamp::now();
        let mut actions = Vec::new();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(heard) = next {
            match heard {
                Heard::Input(input) => actions.extend(self.model.apply(now, input)),
                Heard::End(error) => return Err(error.into()),
            }
            taken += 1;
            next = if taken < HEARD_AT_ONCE {
                self.heard.try_recv().ok()
            } else {
                None
            };
        }
        Ok(actions)
    }

    fn act(&mut self, action: Action) {
        if let Some(request_id) = self.feed.act(action) {
            self.model.ui.identify(&request_id);
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        self.dirty = false;
        self.drawn = Instant::now();
        let (model, style) = (&self.model, &self.style);
        self.screen.draw(|frame| draw::draw(model, style, frame))?;
        Ok(())
    }
}

/// Keys, read by a thread of their own, because reading a terminal blocks.
fn read_keys() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

fn translated(key: &KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char(c) if control => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_is_read_as_the_c_library_does() {
        for (variables, want) in [
            (vec![("LANG", "en_US.UTF-8")], true),
            (vec![("LANG", "de_DE.utf8")], true),
            (vec![("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], false),
            (vec![("LANG", "C"), ("LC_CTYPE", "C.UTF-8")], true),
            (vec![("LANG", "en_US.UTF-8"), ("LC_ALL", "")], true),
            (vec![], false),
        ] {
            let of = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(speaks_utf8(of), want, "{variables:?}");
        }
    }
}
