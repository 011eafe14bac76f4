//! A program on a terminal of its own: a pseudo-terminal whose screen is read as a person would see it.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty};

/// How long anything on the screen may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program and its terminal.
pub(crate) struct Tty {
    pty: Arc<Pty>,
    /// Held, so that the terminal's modes outlive the program.
    _pts: Pts,
    screen: Arc<Mutex<vt100::Parser>>,
    /// All bytes it ever wrote.
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Whether nobody reads what is written.
    stalled: Arc<AtomicBool>,
    child: Child,
}

fn size(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has rows and columns")
}

impl Tty {
    /// Runs a command on a terminal of so many columns and rows.
    pub(crate) fn run(mut command: Command, columns: u16, rows: u16) -> Self {
        let (pty, pts) = pty_process::blocking::open().expect("the system has pseudo-terminals");
        pty.resize(Size::new(rows, columns)).expect("it is open");
        let child = command.spawn_borrowed(&pts).expect("the binary starts");
        let pty = Arc::new(pty);
        let screen = vt100::Parser::new(size(rows), size(columns), 0);
        let screen = Arc::new(Mutex::new(screen));
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let stalled = Arc::new(AtomicBool::new(false));
        let stalled_too = Arc::clone(&stalled);
        let (from, onto, all) = (Arc::clone(&pty), Arc::clone(&screen), Arc::clone(&bytes));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when the last process is gone from it.
            while let Ok(count) = (&*from).read(&mut buffer) {
                while stalled_too.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                if count == 0 {
                    return;
                }
                onto.lock().expect("no panic").process(&buffer[..count]);
                all.lock()
                    .expect("no panic")
                    .extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            pty,
            _pts: pts,
            screen,
            bytes,
            stalled,
            child,
        }
    }

    /// The text on the screen.
    pub(crate) fn contents(&self) -> String {
        let parser = self.screen.lock().expect("no panic");
        parser.screen().contents()
    }

    /// All bytes that were ever written to the terminal.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().expect("no panic").clone()
    }

    /// Something of the screen itself.
    pub(crate) fn screen<T>(&self, of: impl FnOnce(&vt100::Screen) -> T) -> T {
        of(self.screen.lock().expect("no panic").screen())
    }

    /// Whether the terminal is as a shell wants it: it edits lines and echoes, on its usual screen with its cursor.
    pub(crate) fn is_usual(&self) -> bool {
        let modes = tcgetattr(&*self.pty).expect("it is a terminal").local_flags;
        let cooked = modes.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        cooked && self.screen(|screen| !screen.alternate_screen() && !screen.hide_cursor())
    }

    /// Types keys.
    pub(crate) fn keys(&self, keys: &str) {
        (&*self.pty)
            .write_all(keys.as_bytes())
            .expect("the program reads its terminal");
    }

    /// Another size, as when a person pulls at the window.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let mut parser = self.screen.lock().expect("no panic");
        parser.screen_mut().set_size(size(rows), size(columns));
        drop(parser);
        let size = Size::new(rows, columns);
        self.pty.resize(size).expect("it is open");
    }

    /// Stops reading what is written, or goes on: the terminal's buffer fills, and writing to it blocks.
    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
    }

    /// Waits until the screen is as wanted.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let contents = self.contents();
            if wanted(&contents) {
                return contents;
            }
            assert!(started.elapsed() < PATIENCE, "{what}:\n{contents}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a text is on the screen.
    pub(crate) fn shows(&self, text: &str) -> String {
        self.until(&format!("{text:?} is not shown"), |screen| {
            screen.contains(text)
        })
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process number");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Waits until it ends.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                // What it wrote last is still on its way.
                std::thread::sleep(Duration::from_millis(100));
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it does not end:\n{}",
                self.contents()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
