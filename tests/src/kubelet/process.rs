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
    /// Its process 1, by this machine's numbers.
    pid: u32,
    environment: BTreeMap<String, String>,
    user: u32,
}

/// Starts the process that holds a pod's network, hostname and IPC, and waits until it has them.
pub(super) async fn hold(pod: &str) -> Result<Process> {
    let holder = Process::start(&format!("{pod}/holder"), "/usr/bin/unshare", |command| {
        command
            .args(["--net", "--uts", "--ipc", "--", "/bin/sh", "-c"])
            .arg("echo \"$0\" >/proc/sys/kernel/hostname && echo held && exec sleep infinity")
            .arg(pod);
    });
    said(holder, "held").await
}

async fn said(mut process: Process, word: &str) -> Result<Process> {
    while !process.log().contains(word) {
        let ended = process.exited();
        ensure!(
            ended.is_none(),
            "a pod has no namespaces: {}",
            process.log()
        );
        sleep(LOOK).await;
    }
    Ok(process)
}

impl Started {
    /// Starts a container beside its pod's holder, and waits until it has a process 1.
    pub(super) async fn start(plan: Plan, script: &Path, holder: u32) -> Result<Self> {
        std::fs::create_dir_all(plan.folder.join("layers"))?;
        let mut mounts = String::new();
        for (source, target, writable) in &plan.mounts {
            let mode = if *writable { "rw" } else { "ro" };
            let _ = writeln!(mounts, "{}\t{target}\t{mode}", source.display());
        }
        std::fs::write(plan.folder.join("mounts"), mounts)?;
        let mut process = Process::start(&plan.name, "/usr/bin/nsenter", |command| {
            command
                .args([
                    "--target",
                    &holder.to_string(),
                    "--net",
                    "--uts",
                    "--ipc",
                    "--",
                ])
                .args(["/usr/bin/unshare", "--mount", "--propagation", "private"])
                // The shell's first child is process 1 of the new process namespace. `unshare --fork` would do, but it
                // does not tell that its child was killed by SIGKILL.
                .args([
                    "--pid",
                    "--",
                    "/bin/sh",
                    "-c",
                    "\"$@\"; exit $?",
                    "container",
                ])
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
                return Ok(Self {
                    process,
                    pid,
                    environment,
                    user,
                });
            }
            let ended = process.exited();
            ensure!(ended.is_none(), "it did not start: {}", process.log());
            sleep(LOOK).await;
        }
    }

    /// Its process 1, by this machine's numbers.
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
                return status;
            }
            sleep(LOOK).await;
        }
    }

    /// Sends a signal to its process 1, as container runtimes do.
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
