//! The terminal: raw mode and the other screen while `top` runs, and back again however it ends; frames are written by a
//! thread of their own, so that a slow terminal never holds up what is read.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::style::ResetColor;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use tokio::sync::mpsc;

/// How long the end waits for a terminal that takes no more bytes.
const FINISH: Duration = Duration::from_secs(2);

/// Whether the terminal is in our hands.
static RAISED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Has the terminal; gives it back when dropped, and on a panic before the panic's text is printed.
#[derive(Debug)]
pub(crate) struct Guard(());

impl Guard {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// When it cannot be set up.
    pub(crate) fn raise() -> io::Result<Self> {
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                previous(info);
            }));
        });
        enable_raw_mode()?;
        RAISED.store(true, Ordering::SeqCst);
        let guard = Self(());
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, once. Modes first: that never blocks. A frame that is being written is ended before what is
/// written here, because both lock standard output. A terminal that takes no more bytes is left after a while: a program
/// that is told to end ends.
fn restore() {
    if !RAISED.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = disable_raw_mode();
    let (done, written) = blocking::sync_channel(1);
    std::thread::spawn(move || {
        let _ = execute!(io::stdout(), ResetColor, LeaveAlternateScreen, Show);
        let _ = done.send(());
    });
    let _ = written.recv_timeout(FINISH);
}

/// Bytes of the frame that is being drawn.
#[derive(Clone, Debug, Default)]
struct Bytes(Rc<RefCell<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Draws frames, one at a time: the next one may be drawn when the last one is written.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Bytes>>,
    bytes: Bytes,
    /// `None` once it has ended.
    frames: Option<blocking::SyncSender<Vec<u8>>>,
    written: mpsc::Receiver<io::Result<()>>,
    idle: bool,
}

impl Screen {
    /// Starts the writer.
    ///
    /// # Errors
    ///
    /// When the terminal's size cannot be read.
    pub(crate) fn start() -> io::Result<Self> {
        let bytes = Bytes::default();
        let terminal = Terminal::new(CrosstermBackend::new(bytes.clone()))?;
        // One frame: the next is drawn from the newest model, not queued.
        let (frames, to_write) = blocking::sync_channel::<Vec<u8>>(1);
        let (done, written) = mpsc::channel(1);
        std::thread::spawn(move || {
            for frame in to_write {
                let mut out = io::stdout().lock();
                // A frame after the terminal was given back, as by a panic, would be written over the shell.
                let result = if RAISED.load(Ordering::SeqCst) {
                    out.write_all(&frame).and_then(|()| out.flush())
                } else {
                    Ok(())
                };
                drop(out);
                if done.blocking_send(result).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            terminal,
            bytes,
            frames: Some(frames),
            written,
            idle: true,
        })
    }

    /// Whether a frame may be drawn.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Waits until the frame is written. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be written to.
    pub(crate) async fn written(&mut self) -> io::Result<()> {
        let result = self.written.recv().await;
        self.idle = true;
        result.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Draws a frame and has it written.
    ///
    /// # Errors
    ///
    /// When the terminal's size cannot be read, or the writer has ended.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw)?;
        let frame = std::mem::take(&mut *self.bytes.0.borrow_mut());
        if frame.is_empty() {
            return Ok(());
        }
        let sent = self.frames.as_ref().map(|frames| frames.send(frame));
        match sent {
            Some(Ok(())) => {
                self.idle = false;
                Ok(())
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Screen {
    /// Lets the last frame out, so that it does not come after the terminal was given back.
    fn drop(&mut self) {
        self.frames = None;
        let waited = std::time::Instant::now();
        while !self.idle && waited.elapsed() < FINISH {
            match self.written.try_recv() {
                Err(mpsc::error::TryRecvError::Empty) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => self.idle = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::num::NonZeroU16;

    use nix::sys::termios::{LocalFlags, tcgetattr};

    use super::*;

    /// Takes the terminal and panics with it. The test below runs it on a terminal of its own.
    #[test]
    #[ignore = "takes the terminal it runs on; run by the test beside it"]
    fn panics_with_the_terminal() {
        let _guard = Guard::raise().expect("it runs on a terminal");
        let mut screen = Screen::start().expect("it runs on a terminal");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        // One frame that is on the screen, and one that may still be on its way.
        for text in ["drawn", "again"] {
            if !screen.is_idle() {
                runtime.block_on(screen.written()).expect("it is written");
            }
            screen
                .draw(|frame| {
                    let style = ratatui::style::Style::new();
                    frame.buffer_mut().set_string(0, 0, text, style);
                })
                .expect("it is drawn");
        }
        panic!("on purpose");
    }

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was_and_its_text_to_be_read() {
        let (mut pty, pts) = pty_process::blocking::open().expect("the system has terminals");
        pty.resize(pty_process::Size::new(24, 120))
            .expect("it is open");
        let program = std::env::current_exe().expect("this is a program");
        let mut command = pty_process::blocking::Command::new(program)
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("top::terminal::tests::panics_with_the_terminal")
            .env("RUST_BACKTRACE", "0")
            .env("TERM", "xterm");
        let mut child = command.spawn_borrowed(&pts).expect("this program starts");
        let status = child.wait().expect("it ends");
        assert!(!status.success(), "it panicked");
        let modes = tcgetattr(&pty).expect("it is a terminal").local_flags;
        assert!(modes.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG));
        // Both have the terminal open: reading ends when nobody has.
        drop((command, pts));
        let mut bytes = Vec::new();
        // It ends with an error once nobody has the terminal.
        let _ = pty.read_to_end(&mut bytes);
        let size = |count| NonZeroU16::new(count).expect("not zero");
        let mut parser = vt100::Parser::new(size(24), size(120), 0);
        parser.process(&bytes);
        let screen = parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
        assert!(
            screen.contents().contains("on purpose"),
            "{}",
            screen.contents()
        );
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.contains("\x1b[?1049h") && text.contains("drawn"),
            "{text:?}"
        );
    }
}
