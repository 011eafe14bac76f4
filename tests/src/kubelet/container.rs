//! The lives of one container: start, probes, end, and again, until its pod stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use tokio::time::{Instant, sleep, timeout_at};

use super::board::{Ended, State};
use super::environment::{self, expand};
use super::pod::{Running, Stop};
use super::probe::{Action, verdict};
use super::process::{Plan, Started};
use super::volumes;

/// How long after a failure to configure a container it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The wait before a second restart in a row; each further one waits twice as long. A tenth of Kubernetes' own.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// After a life of this length the wait begins anew.
const LONG_LIFE: Duration = Duration::from_mins(1);

/// The least time between SIGTERM and SIGKILL, should a hook have used up the grace period.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// How much of a log is kept of a life that ended.
const LOG_KEPT: usize = 64 * 1024;

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// One container of a pod.
pub(super) struct Runner {
    pub(super) pod: Arc<Running>,
    pub(super) container: Container,
    pub(super) restart: Restart,
    /// Who must be over before it is asked to end.
    pub(super) after: Vec<String>,
}

impl Runner {
    /// Runs it until it is over: it ended and is not started again, or its pod stopped.
    pub(super) async fn run(self) {
        let mut lives = 0;
        let mut wait = Duration::ZERO;
        loop {
            let begun = Instant::now();
            let from = Timestamp::now();
            let (code, reason, message) = tokio::select! {
                started = self.start(lives) => match started {
                    Ok(started) => self.live(&started).await,
                    Err(error) => (128, "StartError", format!("{error:#}")),
                },
                _ = self.pod.stopped() => (137, "ContainerStatusUnknown", "it was never started".to_owned()),
            };
            let ended = Ended {
                code,
                reason,
                message,
                from,
                until: Timestamp::now(),
            };
            let stopped = self.pod.stop_now().is_some();
            let again = !stopped
                && match self.restart {
                    Restart::Always => true,
                    Restart::OnFailure => code != 0,
                    Restart::Never => false,
                };
            self.pod.board.change(&self.container.name, |entry| {
                entry.state = State::Ended(ended.clone());
                (entry.ready, entry.started, entry.pid, entry.log) = (false, false, None, None);
                entry.over = !again;
            });
            if !again {
                return;
            }
            if begun.elapsed() > LONG_LIFE {
                wait = Duration::ZERO;
            }
            if !wait.is_zero() {
                let message = format!("back-off {wait:?} restarting failed container");
                self.waiting("CrashLoopBackOff", message);
            }
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.pod.stopped() => {}
            }
            if self.pod.stop_now().is_some() {
                self.pod.board.change(&self.container.name, |entry| {
                    entry.state = State::Ended(ended.clone());
                    entry.over = true;
                });
                return;
            }
            wait = (wait * 2).clamp(BACK_OFF, BACK_OFF_MAX);
            lives += 1;
            self.pod.board.change(&self.container.name, |entry| {
                entry.last = Some(ended);
                entry.restarts = lives;
            });
        }
    }

    fn waiting(&self, reason: &'static str, message: String) {
        self.pod.board.change(&self.container.name, |entry| {
            entry.state = State::Waiting(reason, message);
        });
    }

    /// Starts it, as soon as everything it names is there.
    async fn start(&self, lives: i32) -> Result<Started> {
        let plan = loop {
            match self.plan(lives).await {
                Ok(plan) => break plan,
                Err((reason, error)) => self.waiting(reason, format!("{error:#}")),
            }
            sleep(RETRY).await;
        };
        let node = &self.pod.node;
        Started::start(plan, &node.script, self.pod.held).await
    }

    async fn plan(&self, lives: i32) -> Result<Plan, (&'static str, anyhow::Error)> {
        let container = &self.container;
        let node = &self.pod.node;
        let name = container.image.as_deref().unwrap_or_default();
        let image = node
            .images
            .find(name)
            .with_context(|| format!("this node has no image \"{name}\""))
            .map_err(|error| ("ErrImagePull", error))?;
        let bad = |error: anyhow::Error| ("CreateContainerConfigError", error);
        let pod = self.pod.pod();
        let variables = environment::resolve(&node.client, &pod, container, &self.pod.place)
            .await
            .map_err(bad)?;
        let mut mounts: Vec<_> = image
            .mounts
            .iter()
            .map(|(source, inside)| (source.clone(), inside.clone(), false))
            .collect();
        mounts.push((self.pod.hosts_file(), "/etc/hosts".to_owned(), false));
        mounts.extend(volumes::mounts(container, &self.pod.folders(), &variables).map_err(bad)?);
        let line = image.line(container.command.as_deref(), container.args.as_deref());
        let line = line.iter().map(|word| expand(word, &variables)).collect();
        let rights = self.rights(image.user).map_err(bad)?;
        let mut environment = image.environment.clone();
        environment.insert("HOSTNAME".to_owned(), self.pod.name.clone());
        environment.insert("HOME".to_owned(), "/tmp".to_owned());
        environment.extend(variables);
        Ok(Plan {
            name: format!("{}/{}", self.pod.name, container.name),
            line,
            environment,
            mounts,
            user: rights.user,
            group: rights.group,
            volume_group: rights.volume_group,
            read_only: rights.read_only,
            working_folder: container
                .working_dir
                .clone()
                .unwrap_or_else(|| "/".to_owned()),
            folder: self.pod.folder.join(format!("{}-{lives}", container.name)),
        })
    }

    /// Who it runs as: the container's word before the pod's, before the image's.
    fn rights(&self, image_user: u32) -> Result<Rights> {
        let own = self.container.security_context.clone().unwrap_or_default();
        let spec = self.pod.pod().spec.clone().unwrap_or_default();
        let pods = spec.security_context.unwrap_or_default();
        let number = |id: Option<i64>| id.map(u32::try_from).transpose();
        let user = number(own.run_as_user.or(pods.run_as_user))?.unwrap_or(image_user);
        let group = number(own.run_as_group.or(pods.run_as_group))?.unwrap_or(user);
        let must_not_be_root = own.run_as_non_root.or(pods.run_as_non_root) == Some(true);
        anyhow::ensure!(
            !(must_not_be_root && user == 0),
            "container has runAsNonRoot and image will run as root"
        );
        Ok(Rights {
            user,
            group,
            volume_group: number(pods.fs_group)?.unwrap_or(group),
            read_only: own.read_only_root_filesystem == Some(true),
        })
    }

    /// One life: until it ends by itself, fails a probe, or is stopped.
    async fn live(&self, started: &Started) -> (i32, &'static str, String) {
        self.pod.board.change(&self.container.name, |entry| {
            entry.state = State::Running(Timestamp::now());
            entry.pid = Some(started.pid());
            entry.log = Some(started.log_file());
        });
        let message = tokio::select! {
            _ = started.ended() => String::new(),
            (failed, grace) = self.watch(started) => {
                self.stop(started, Instant::now() + grace).await;
                failed
            }
            Stop { deadline } = self.pod.stopped() => {
                tokio::select! {
                    () = self.stop(started, deadline) => {}
                    never = self.readiness_to_the_end(started) => match never {},
                }
                String::new()
            }
        };
        let (code, reason) = outcome(started.ended().await);
        let log = started.log();
        let from = log.len().saturating_sub(LOG_KEPT);
        let from = (from..=log.len())
            .find(|&at| log.is_char_boundary(at))
            .unwrap_or(0);
        self.pod.board.change(&self.container.name, |entry| {
            log[from..].clone_into(&mut entry.last_log);
        });
        (code, reason, message)
    }

    /// Runs hook and probes; returns why it has to be stopped, and the grace it has.
    async fn watch(&self, started: &Started) -> (String, Duration) {
        let grace = self.pod.grace();
        let hooks = self.container.lifecycle.clone().unwrap_or_default();
        if let Some(hook) = &hooks.post_start
            && let Err(error) = self.hook(hook, started).await
        {
            return (format!("PostStartHook failed: {error:#}"), grace);
        }
        if let Some(probe) = &self.container.startup_probe {
            tokio::select! {
                why = self.failing("startup", probe, started) => return (why, own_grace(probe, grace)),
                _ = self.verdict(probe, started, true) => {}
            }
        }
        let has_readiness = self.container.readiness_probe.is_some();
        self.pod.board.change(&self.container.name, |entry| {
            entry.started = true;
            entry.ready = !has_readiness;
        });
        tokio::select! {
            why = self.liveness(started, grace) => why,
            never = self.readiness(started) => match never {},
        }
    }

    async fn liveness(&self, started: &Started, grace: Duration) -> (String, Duration) {
        match &self.container.liveness_probe {
            Some(probe) => {
                let why = self.failing("liveness", probe, started).await;
                (why, own_grace(probe, grace))
            }
            None => std::future::pending().await,
        }
    }

    async fn readiness(&self, started: &Started) -> std::convert::Infallible {
        let Some(probe) = &self.container.readiness_probe else {
            return std::future::pending().await;
        };
        sleep(initial_delay(probe)).await;
        let mut wanted = !self.pod.board.states()[&self.container.name].ready;
        loop {
            if self.verdict(probe, started, wanted).await.is_err() {
                // It names what is not known here: never ready.
                return std::future::pending().await;
            }
            self.pod
                .board
                .change(&self.container.name, |entry| entry.ready = wanted);
            wanted = !wanted;
        }
    }

    /// A pod that ends is asked whether it is ready, and no longer whether it lives.
    async fn readiness_to_the_end(&self, started: &Started) -> std::convert::Infallible {
        if !self.pod.board.states()[&self.container.name].started {
            return std::future::pending().await;
        }
        self.readiness(started).await
    }

    async fn failing(&self, kind: &str, probe: &Probe, started: &Started) -> String {
        sleep(initial_delay(probe)).await;
        match self.verdict(probe, started, false).await {
            Ok(()) => format!("{kind} probe failed"),
            Err(error) => format!("{kind} probe: {error:#}"),
        }
    }

    async fn verdict(&self, probe: &Probe, started: &Started, wanted: bool) -> Result<()> {
        verdict(probe, &self.container, self.pod.address, started, wanted).await
    }

    async fn hook(
        &self,
        hook: &k8s_openapi::api::core::v1::LifecycleHandler,
        started: &Started,
    ) -> Result<()> {
        let action = Action::of_hook(hook)?;
        action.run(&self.container, self.pod.address, started).await
    }

    /// Hook, SIGTERM when its turn has come, SIGKILL at the deadline.
    async fn stop(&self, started: &Started, deadline: Instant) {
        let asked = async {
            let hooks = self.container.lifecycle.clone().unwrap_or_default();
            if let Some(hook) = &hooks.pre_stop {
                // A hook that fails changes nothing, as in Kubernetes.
                let _ = self.hook(hook, started).await;
            }
            self.pod.board.over(&self.after).await;
        };
        tokio::select! {
            _ = started.ended() => return,
            _ = timeout_at(deadline, asked) => {}
        }
        started.signal(Signal::SIGTERM);
        let deadline = deadline.max(Instant::now() + LEAST_GRACE);
        if timeout_at(deadline, started.ended()).await.is_err() {
            started.signal(Signal::SIGKILL);
        }
    }
}

struct Rights {
    user: u32,
    group: u32,
    volume_group: u32,
    read_only: bool,
}

fn initial_delay(probe: &Probe) -> Duration {
    let seconds = probe.initial_delay_seconds.unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn own_grace(probe: &Probe, pods: Duration) -> Duration {
    let seconds = probe.termination_grace_period_seconds;
    seconds.map_or(pods, |seconds| {
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    })
}

/// Exit code and reason, as container runtimes tell them.
fn outcome(status: ExitStatus) -> (i32, &'static str) {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    match code.unwrap_or(1) {
        0 => (0, "Completed"),
        code => (code, "Error"),
    }
}
