//! The process of a container: entering its namespaces, commands beside it, signals, its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::process::Process;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Everything a container's process is started with.
pub(super) struct Plan {
    /// For logs: `pod/container`.
    pub(super) name: String,
    /// The line to run.
    pub(super) line: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Source here, target there, and whether it may be written to.
    pub(super) mounts: Vec<(PathBuf, String, bool)>,
    pub(super) user: u32,
    pub(super) group: u32,
    /// One more group, which owns the pod's volumes.
    pub(super) volume_group: u32,
    pub(super) read_only: bool,
    pub(super) working_folder: String,
    /// A folder for this one start.
    pub(super) folder: PathBuf,
}

/// A started container.
pub(super) struct Started {
    process: Mutex<Process>,
    /// Its own process, by this machine's numbers.
    pid: u32,
    /// Its mount namespace, by which its processes are known where they do not end with its own.
    mounts: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    user: u32,
}

/// What holds a pod's namespaces.
pub(super) struct Holder {
    process: Process,
    /// Process 1 of a process namespace that the pod's containers share, if they do.
    pause: Option<u32>,
}

/// What a holder is reached by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) pid: u32,
    pause: Option<u32>,
}

/// In the pod's namespaces but that of processes, which only its children are in: the first of those is process 1, does
/// nothing, and leaves no dead process behind.
const HOLD: &str = r#"
echo "$0" >/proc/sys/kernel/hostname || exit 1
pause=
if [ "$1" = yes ]; then
    /usr/bin/setpriv --pdeathsig KILL -- /usr/bin/env --ignore-signal=CHLD /usr/bin/sleep infinity &
    pause=$!
fi
echo "held $pause"
exec sleep infinity"#;

impl Holder {
    /// Starts one for network, hostname, IPC and, if they are `shared`, processes, and waits until it has them.
    pub(super) async fn start(pod: &str, shared: bool) -> Result<Self> {
        let name = format!("{pod}/holder");
        let mut process = Process::start(&name, "/usr/bin/unshare", |command| {
            command.args(["--net", "--uts", "--ipc"]);
            if shared {
                command.arg("--pid");
            }
            command
                .args(["--", "/bin/sh", "-c", HOLD, pod])
                .arg(if shared { "yes" } else { "no" });
        });
        loop {
            let log = process.log();
            if let Some(pause) = log.lines().find_map(|line| line.strip_prefix("held ")) {
                let pause = shared.then(|| pause.parse()).transpose();
                let pause = pause.context("a process id")?;
                return Ok(Self { process, pause });
            }
            let ended = process.exited();
            ensure!(ended.is_none(), "a pod has no namespaces: {log}");
            sleep(LOOK).await;
        }
    }

    pub(super) fn held(&self) -> Held {
        Held {
            pid: self.process.pid(),
            pause: self.pause,
        }
    }
}

impl Started {
    /// Starts a container beside its pod's holder, and waits until it has a process. That is process 1 of a namespace of its
    /// own, unless the pod's containers share one.
    pub(super) async fn start(plan: Plan, script: &Path, held: Held) -> Result<Self> {
        std::fs::create_dir_all(plan.folder.join("layers"))?;
        let mut mounts = String::new();
        for (source, target, writable) in &plan.mounts {
            let mode = if *writable { "rw" } else { "ro" };
            let _ = writeln!(mounts, "{}\t{target}\t{mode}", source.display());
        }
        std::fs::write(plan.folder.join("mounts"), mounts)?;
        let mut process = Process::start(&plan.name, "/usr/bin/nsenter", |command| {
            command.args(["--target", &held.pid.to_string()]);
            command.args(["--net", "--uts", "--ipc"]);
            if let Some(pause) = held.pause {
                command.args([&format!("--pid=/proc/{pause}/ns/pid"), "--no-fork"]);
            }
            command
                .arg("--")
                .args(["/usr/bin/unshare", "--mount", "--propagation", "private"]);
            if held.pause.is_none() {
                command.arg("--pid");
            }
            command
                // The shell's child is in the process namespace, of a new one it is process 1. `unshare --fork` would do, but
                // it does not tell that its child was killed by SIGKILL.
                .args(["--", "/bin/sh", "-c", "\"$@\"; exit $?", "container"])
                .args(["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", "/bin/sh"])
                .arg(script)
                .arg(&plan.folder)
                .args([plan.user, plan.group, plan.volume_group].map(|id| id.to_string()))
                .arg(if plan.read_only { "yes" } else { "no" })
                .arg(&plan.working_folder)
                .args(&plan.line)
                .env_clear()
                .envs(&plan.environment);
        });
        let file = plan.folder.join("pid");
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n') {
                let pid = pid.parse().context("a process id")?;
                let (environment, user) = (plan.environment, plan.user);
                let process = Mutex::new(process);
                let mounts = held.pause.map(|_| mount_namespace(pid)).transpose()?;
                return Ok(Self {
                    process,
                    pid,
                    mounts,
                    environment,
                    user,
                });
            }
            let ended = process.exited();
            ensure!(ended.is_none(), "it did not start: {}", process.log());
            sleep(LOOK).await;
        }
    }

    /// Its own process, by this machine's numbers.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it writes.
    pub(super) fn log_file(&self) -> PathBuf {
        self.process().log_file()
    }

    /// What it has written so far.
    pub(super) fn log(&self) -> String {
        self.process().log()
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> ExitStatus {
        loop {
            let ended = self.process().exited();
            if let Some(status) = ended {
                self.end_others();
                return status;
            }
            sleep(LOOK).await;
        }
    }

    /// Kills what its own process left behind, as container runtimes do where that was not process 1.
    fn end_others(&self) {
        let Some(mounts) = &self.mounts else {
            return;
        };
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for number in numbers {
            if mount_namespace(number).is_ok_and(|theirs| theirs == *mounts)
                && let Ok(number) = i32::try_from(number)
            {
                // ESRCH: it ends just now.
                let _ = kill(Pid::from_raw(number), Signal::SIGKILL);
            }
        }
    }

    /// Sends a signal to its own process, as container runtimes do.
    pub(super) fn signal(&self, signal: Signal) {
        let mut process = self.process();
        if process.exited().is_none() {
            let pid = i32::try_from(self.pid).expect("process ids fit in an i32");
            // ESRCH: it ends just now.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command inside, to its end.
    pub(super) async fn execute(&self, line: &[String]) -> Result<()> {
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .args(["--target", &self.pid.to_string()])
            .args([
                "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
            ])
            .args(
                (self.user != 0)
                    .then_some(["/usr/bin/setpriv", "--reuid"])
                    .iter()
                    .flatten(),
            )
            .args((self.user != 0).then_some(self.user.to_string()))
            .args(
                (self.user != 0)
                    .then_some(["--clear-groups", "--"])
                    .iter()
                    .flatten(),
            )
            .args(line)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        // When nobody waits for its end any more, such as at a time limit.
        let output = command.kill_on_drop(true).output().await?;
        ensure!(
            output.status.success(),
            "{line:?} ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// What tells a process's mount namespace from others.
fn mount_namespace(process: u32) -> Result<PathBuf> {
    let link = format!("/proc/{process}/ns/mnt");
    std::fs::read_link(&link).with_context(|| format!("{link} cannot be read"))
}
