//! Child processes that cannot outlive the test: each leads its own process group, which is killed on drop.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::janitor::Janitor;

/// How many lines of a log a failing test prints.
const TAIL_LINES: usize = 40;

/// A running child process with its output in a log file.
pub struct Process {
    name: String,
    child: Child,
    folder: TempDir,
    exited: Option<ExitStatus>,
}

/// Where logs lie. Values that many tests share are never dropped, so it is removed with the test binary.
static LOGS: LazyLock<(PathBuf, Janitor)> = LazyLock::new(|| {
    let folder = TempDir::new()
        .expect("the temporary folder is writable")
        .keep();
    let janitor = Janitor::of(&folder);
    (folder, janitor)
});

type Spawn = (Command, Sender<io::Result<Child>>);

/// Spawns every child from one thread that lives as long as the test binary: the kernel's parent-death signal, which
/// `setpriv` sets, is about the spawning *thread*, and a test's own thread ends with the test.
static SPAWNER: LazyLock<Mutex<Sender<Spawn>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Spawn>();
    std::thread::spawn(move || {
        for (mut command, answer) in receiver {
            // Nobody to tell means the test is gone, and then so is the child's owner.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

impl Process {
    /// Starts a program with both outputs in its log. `environment` and `arguments` are all it gets beyond ours.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(
        name: &str,
        program: impl Into<PathBuf>,
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let program = program.into();
        let folder = TempDir::new_in(&LOGS.0).expect("the temporary folder is writable");
        let log = File::create(folder.path().join("log")).expect("a new folder is writable");
        let errors = log.try_clone().expect("an open file can be shared");
        let mut command = die_with_us(&program);
        configure(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .process_group(0);
        let (answer, spawned) = mpsc::channel();
        SPAWNER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send((command, answer))
            .expect("the spawner lives as long as the process");
        let child = spawned
            .recv()
            .expect("the spawner answers every request")
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self {
            name: name.to_owned(),
            child,
            folder,
            exited: None,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far, both outputs.
    pub fn log(&self) -> String {
        std::fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The file it writes to, which goes with this value.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Its exit status, if it has ended. What is left of its group is killed when that is seen.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            let ended = self.child.try_wait().expect("our own child can be waited");
            if ended.is_some() {
                // At once: later its number may be that of another process, so then nothing is signalled any more.
                self.signal_group(Signal::SIGKILL);
            }
            self.exited = ended;
        }
        self.exited
    }

    /// Sends a signal to the process alone, unless it has been seen to have ended.
    pub fn signal(&self, signal: Signal) {
        if self.exited.is_none() {
            // ESRCH: it has ended, which is what the caller will see anyway.
            let _ = kill(self.raw_pid(), signal);
        }
    }

    /// Sends a signal to the process and its children, unless it has been seen to have ended.
    pub fn signal_group(&self, signal: Signal) {
        if self.exited.is_none() {
            let _ = killpg(self.raw_pid(), signal);
        }
    }

    /// Kills it and its children with SIGKILL and waits for its end.
    pub fn kill9(&mut self) {
        self.signal_group(Signal::SIGKILL);
        if self.exited.is_none() {
            self.exited = self.child.wait().ok();
        }
    }

    /// Asks it to end by SIGTERM and waits; its exit status.
    ///
    /// # Panics
    /// When it still runs after `timeout`.
    pub fn stop(&mut self, timeout: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} (pid {}) still runs {timeout:?} after SIGTERM",
                self.name,
                self.pid()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its user and system time so far, in seconds, all threads.
    ///
    /// # Panics
    /// When it has ended.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .expect("a running process has a status");
        // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field of all, in hundredths.
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        let ticks = after.split(' ').skip(11).take(2);
        let ticks = ticks.map(|field| field.parse::<u32>().expect("the kernel writes numbers"));
        ticks.map(f64::from).sum::<f64>() / 100.0
    }

    /// Its resident memory in bytes (`VmRSS`).
    ///
    /// # Panics
    /// When it has ended, or where there is no `/proc`.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .unwrap_or_else(|error| panic!("{} has no /proc entry: {error}", self.name));
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok())
            .expect("the kernel reports VmRSS in kB");
        kib * 1024
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids fit in an i32"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            eprintln!("--- end of the log of {} ---", self.name);
            for line in tail {
                eprintln!("{line}");
            }
        }
    }
}

/// A command for `program` that also ends when this test binary is killed, where the system can do that.
fn die_with_us(program: &PathBuf) -> Command {
    let setpriv = PathBuf::from("/usr/bin/setpriv");
    if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
