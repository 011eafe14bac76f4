//! `kubectl celery`: this program under the name `kubectl-celery`, which is how kubectl finds its plugins. It finds the
//! aggregator of a cluster, forwards a port to it and gets a token for it, all by kubectl; then it asks as `celeriac` does, as a
//! child of its own. The kubeconfig's credential goes to the API server only.

mod drain;
mod find;
mod forward;
mod kubectl;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use find::{Aggregator, Way};
use forward::Forward;
use kubectl::{Kubectl, KubectlError};

/// What kubectl looks for on the `PATH`.
const NAME: &str = "kubectl-celery";

const MORE: &str = "\
Everything that `celeriac` does is asked of the aggregator of the cluster:
  workers, worker, queues, tasks, task, task-names, gaps, apps, watch, top, control, inspect, commands, command

Examples:
  kubectl celery status
  kubectl celery top
  kubectl celery --app shop tasks --filter 'state = FAILURE'
  kubectl celery drain celery@shop-mail-7c9f8-x2x9z
  kubectl celery pause shop

Options of kubectl come before the command. Who may ask is who may make a token of a ServiceAccount of Celeriac: `-reader` to \
look, `-controller` for control, inspect and drain.";

/// See and control the Celery apps of a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl celery", version, after_help = MORE, max_term_width = 100)]
struct Args {
    /// The kubeconfig file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace of the apps [default: that of the context]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// The app, by the name of its Celery; needed only where there are several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// The namespace that Celeriac is installed in
    #[arg(
        long,
        value_name = "NAME",
        env = "CELERIAC_NAMESPACE",
        default_value = "celeriac"
    )]
    celeriac_namespace: String,
    /// The ServiceAccount of Celeriac to ask as [default: reader, or controller where that is needed]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show apps, pools and schedulers of a namespace, as the operator sees them
    Status {
        /// Of all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
    },
    /// Have the operator leave an app as it is, until `resume`
    Pause {
        /// The name of its Celery
        name: String,
    },
    /// Have the operator go on with an app
    Resume {
        /// The name of its Celery
        name: String,
    },
    /// Have a worker take nothing new, and wait until it is idle
    Drain(drain::DrainArgs),
    #[command(external_subcommand)]
    Ask(Vec<OsString>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum PluginError {
    #[error(transparent)]
    Kubectl(#[from] KubectlError),
    #[error(transparent)]
    Find(#[from] find::FindError),
    #[error(transparent)]
    Forward(#[from] forward::ForwardError),
    #[error(transparent)]
    Drain(#[from] drain::DrainError),
    /// This program cannot start itself.
    #[error("celeriac cannot be started")]
    Start(#[source] std::io::Error),
    /// What is to be trusted cannot be kept.
    #[error("the authority's certificate cannot be written to {}", path.display())]
    Authority {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Whether this program was started as a plugin of kubectl.
pub(crate) fn is_called() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_stem();
    // What krew installs has an underscore for the dash.
    name.is_some_and(|name| name == NAME || name == "kubectl_celery")
}

/// Does what was typed after `kubectl celery`; its exit status.
pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(PluginError::Start(error)),
    };
    outcome.unwrap_or_else(|error| {
        let mut said = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            said = format!("{said}: {error}");
            source = error.source();
        }
        anstream::eprintln!("error: {said}");
        ExitCode::FAILURE
    })
}

async fn run(args: Args) -> Result<ExitCode, PluginError> {
    let kubectl = Kubectl::new(args.kubeconfig.as_deref(), args.context.as_deref());
    let namespace = args.namespace.as_deref();
    match &args.command {
        Command::Status { all_namespaces } => {
            let kinds = "celeries,celeryworkers,celeryschedulers";
            let place = all_namespaces.then_some("--all-namespaces");
            let words = ["get", kinds, "-o", "wide"].into_iter().chain(place);
            Ok(kubectl.shown(namespace, words).await?)
        }
        Command::Pause { name } => {
            let words = [
                "annotate",
                "celeries",
                name,
                "celeriac.dev/paused=true",
                "--overwrite",
            ];
            Ok(kubectl.shown(namespace, words).await?)
        }
        Command::Resume { name } => {
            let words = ["annotate", "celeries", name, "celeriac.dev/paused-"];
            Ok(kubectl.shown(namespace, words).await?)
        }
        Command::Drain(drain) => {
            let celeriac = Celeriac::reach(&kubectl, &args, Way::Control).await?;
            Ok(drain::drain(&celeriac, drain).await?)
        }
        Command::Ask(words) => {
            let celeriac = Celeriac::reach(&kubectl, &args, Way::of(words)).await?;
            let mut command = celeriac.command(words);
            command.kill_on_drop(true);
            let mut child = command.spawn().map_err(PluginError::Start)?;
            // On a terminal the child hears of Ctrl-C itself, and ends as it thinks right.
            let _heard = signal(SignalKind::interrupt()).map_err(PluginError::Start)?;
            let mut terminated = signal(SignalKind::terminate()).map_err(PluginError::Start)?;
            tokio::select! {
                ended = child.wait() => Ok(exit_code(ended.map_err(PluginError::Start)?.code())),
                _ = terminated.recv() => Ok(ExitCode::FAILURE),
            }
        }
    }
}

/// The exit status of a child; one that a signal ended has failed.
fn exit_code(code: Option<i32>) -> ExitCode {
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// `celeriac`, told how to reach the aggregator. The way is open while this lives.
struct Celeriac {
    environment: Vec<(&'static str, OsString)>,
    #[expect(dead_code, reason = "it ends when this is dropped")]
    forward: Forward,
    authority: Option<Authority>,
}

impl Celeriac {
    async fn reach(kubectl: &Kubectl, args: &Args, way: Way) -> Result<Self, PluginError> {
        let aggregator = Aggregator::find(kubectl, &args.celeriac_namespace).await?;
        let mut environment: Vec<(&'static str, OsString)> = Vec::new();
        let given = ["CELERIAC_TOKEN", "CELERIAC_TOKEN_FILE"];
        // Whoever has a token, as in mode `tokens`, needs none of Kubernetes.
        if given.iter().all(|name| std::env::var_os(name).is_none()) {
            let account = args.account.clone();
            let account = account.unwrap_or_else(|| aggregator.account(way));
            let token = aggregator.token(kubectl, &account).await?;
            environment.push(("CELERIAC_TOKEN", token.into()));
        }
        let authority = match aggregator.authority(kubectl).await? {
            Some(pem) => Some(Authority::keep(&pem)?),
            None => None,
        };
        if let Some(authority) = &authority {
            environment.push(("CELERIAC_CA", authority.0.clone().into()));
        }
        if let Some(app) = &args.app {
            let namespace = match &args.namespace {
                Some(namespace) => namespace.clone(),
                None => kubectl.namespace().await?,
            };
            environment.push(("CELERIAC_APP", format!("{namespace}/{app}").into()));
        }
        let forward = Forward::open(kubectl, &aggregator).await?;
        let server = format!("https://127.0.0.1:{}", forward.port());
        environment.push(("CELERIAC_SERVER", server.into()));
        environment.push(("CELERIAC_SERVER_NAME", aggregator.host().into()));
        Ok(Self {
            environment,
            forward,
            authority,
        })
    }

    /// This program as `celeriac`, with these arguments, on our terminal.
    fn command<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> tokio::process::Command {
        let program = std::env::current_exe().unwrap_or_else(|_unknown| "celeriac".into());
        let mut command = tokio::process::Command::new(program);
        command
            .arg0("celeriac")
            .args(words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.authority.is_none() {
            command.env_remove("CELERIAC_CA");
        }
        command
    }

    /// What it prints, as JSON.
    async fn json(&self, words: &[&str]) -> Result<serde_json::Value, drain::DrainError> {
        let mut command = self.command(words.iter().chain(&["-o", "json"]));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(drain::DrainError::Start)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(drain::DrainError::Refused(said));
        }
        serde_json::from_slice(&output.stdout).map_err(drain::DrainError::Answer)
    }
}

/// A file with the authority to trust, for as long as it is needed.
struct Authority(PathBuf);

impl Authority {
    fn keep(pem: &str) -> Result<Self, PluginError> {
        let name = format!("celeriac-ca-{}.pem", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let mut options = std::fs::OpenOptions::new();
        // Never a file, or a link, that somebody else has put there.
        let written = options
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, pem.as_bytes()));
        match written {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(PluginError::Authority { path, source }),
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // One that stays is no secret.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How long a request to the API server may take.
const REQUEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_not_of_the_plugin_is_asked_of_celeriac() {
        let line = ["kubectl-celery", "-n", "live", "tasks", "--limit", "3"];
        let args = Args::try_parse_from(line).unwrap();
        assert_eq!(args.namespace.as_deref(), Some("live"));
        let Command::Ask(words) = args.command else {
            panic!("{:?}", args.command);
        };
        assert_eq!(words, ["tasks", "--limit", "3"]);
        assert_eq!(Way::of(&words), Way::Look);
        let control = [OsString::from("control"), OsString::from("ping")];
        assert_eq!(Way::of(&control), Way::Control);
    }
}
