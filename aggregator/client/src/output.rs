//! Standard output and standard error: what goes where, in which form. All text for a terminal is made before it gets here.

use std::io::{self, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use celeriac_client::Error;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::args::{Format, Times};
use crate::canonical::{Canonical, Printed};
use crate::config::Config;
use crate::render::View;
use crate::render::text::plain;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The aggregator could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] Error),
    /// Standard output cannot be written to.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Moves to the beginning of the line and clears it. Not a colour, so it goes around `AutoStream`.
const REWIND: &str = "\r\x1b[K";

/// Where a command writes.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    times: Times,
    color: bool,
    stdout: AutoStream<io::Stdout>,
    stderr: AutoStream<io::Stderr>,
    stderr_is_terminal: bool,
    /// Whether a progress line stands on the terminal.
    progress: bool,
}

impl Output {
    pub(crate) fn new(config: &Config) -> Self {
        let stdout = io::stdout();
        let choice = match config.color {
            ColorChoice::Auto => AutoStream::choice(&stdout),
            chosen => chosen,
        };
        Self {
            format: config.format,
            times: config.times,
            color: choice != ColorChoice::Never,
            stdout: AutoStream::new(stdout, choice),
            stderr: AutoStream::new(io::stderr(), config.color),
            stderr_is_terminal: io::stderr().is_terminal(),
            progress: false,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// How to render now.
    pub(crate) fn view(&self) -> View {
        View {
            now: Timestamp::now(),
            times: self.times,
            zone: TimeZone::system(),
            width: terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into()),
            wide: self.format == Format::Wide,
            color: self.color,
        }
    }

    /// Prints a whole response: as JSON or YAML when asked for, else what `text` makes of it.
    pub(crate) fn response<M: Printed>(
        &mut self,
        message: &M,
        text: impl FnOnce(&View) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Json => Canonical::new(message).pretty_json()?,
            Format::Yaml => Canonical::new(message).yaml()?,
            Format::Table | Format::Wide => text(&self.view()),
        };
        self.text(&text)
    }

    /// Prints text as it is, at once.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.end_progress();
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.flush()?;
        Ok(())
    }

    /// Whether a person reads, so that hints are wanted.
    pub(crate) fn for_a_person(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Prints a hint on standard error. That it cannot be written is nothing to fail for.
    pub(crate) fn note(&mut self, line: &str) {
        self.end_progress();
        let _ = writeln!(self.stderr, "{}", plain(line));
    }

    /// Shows how far something is, on a terminal only; the next output replaces it.
    pub(crate) fn progress(&mut self, line: &str) {
        if self.stderr_is_terminal {
            self.progress = true;
            let _ = write!(io::stderr(), "{REWIND}{}", plain(line));
        }
    }

    fn end_progress(&mut self) {
        if std::mem::take(&mut self.progress) {
            let _ = write!(io::stderr(), "{REWIND}");
        }
    }
}
