//! Standard output and standard error: what goes where, in which form. All text for a terminal is made before it gets here.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anstream::{AutoStream, ColorChoice};
use celeriac_client::{Error, SetupError};
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
    /// How to reach the aggregator safely cannot be used as it is given.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The authority's certificate cannot be read.
    #[error("--ca (or CELERIAC_CA) {} cannot be read", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output cannot be written to.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// What can do harm was not agreed to.
    #[error("{0}")]
    Unconfirmed(&'static str),
    /// What needs a terminal has none.
    #[error("top needs a terminal to show itself on; `celeriac watch` prints changes as lines")]
    NoTerminal,
    /// A command was asked for, and no record came back.
    #[error(
        "it is not known whether the command went out: `celeriac command {request_id}` tells, and the same command with \
             --request-id {request_id} is sent once at most"
    )]
    Unanswered {
        /// The command's id.
        request_id: String,
        /// Why nothing came back.
        #[source]
        error: Error,
    },
    /// A command was recorded, and not all is well.
    #[error(transparent)]
    Command(#[from] Verdict),
}

/// What is amiss with a command that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Verdict {
    /// Workers answered with an error.
    #[error("{0} of the workers answered with an error")]
    Errors(usize),
    /// Workers that were asked did not answer.
    #[error("{0} of the workers did not answer in time")]
    Silent(usize),
    /// No worker answered, and none was known to be there.
    #[error("no worker answered")]
    Nobody,
    /// It did not go out.
    #[error("the command was not published: no worker has it")]
    NotPublished,
    /// It may have gone out.
    #[error("it is not known whether the command went out")]
    Unknown,
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

    /// Asks a question on standard error, and leaves the cursor behind it.
    pub(crate) fn ask(&mut self, question: &str) {
        self.end_progress();
        let _ = write!(self.stderr, "{}", plain(question));
        let _ = self.stderr.flush();
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
