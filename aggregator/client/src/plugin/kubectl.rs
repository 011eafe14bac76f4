//! Runs of kubectl, with the kubeconfig and context that were typed.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use tokio::process::Command;
use tokio::time::timeout;

use super::{REQUEST, exit_code};

/// Why kubectl did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum KubectlError {
    #[error("kubectl cannot be started; is it on the PATH?")]
    Start(#[source] std::io::Error),
    #[error("kubectl {what} has not answered for {} s", REQUEST.as_secs())]
    Late { what: String },
    #[error("kubectl {what}: {said}")]
    Refused { what: String, said: String },
    #[error("kubectl {what}: its answer cannot be read")]
    Answer {
        what: String,
        source: serde_json::Error,
    },
}

impl KubectlError {
    /// Whether the thing that was asked for is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { said, .. } if said.contains("(NotFound)"))
    }
}

/// kubectl, for one cluster.
pub(super) struct Kubectl {
    flags: Vec<OsString>,
}

impl Kubectl {
    pub(super) fn new(kubeconfig: Option<&Path>, context: Option<&str>) -> Self {
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: OsString| {
            let mut flag = OsString::from(name);
            flag.push(value);
            flags.push(flag);
        };
        if let Some(path) = kubeconfig {
            flag("--kubeconfig=", path.into());
        }
        if let Some(context) = context {
            flag("--context=", context.into());
        }
        Self { flags }
    }

    /// kubectl with its flags, to be given more.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.args(&self.flags).kill_on_drop(true);
        command
    }

    /// Has kubectl print on our own terminal; its exit status.
    pub(super) async fn shown<'a>(
        &self,
        namespace: Option<&str>,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<ExitCode, KubectlError> {
        let mut command = self.command();
        command.args(words);
        if let Some(namespace) = namespace {
            command.args(["--namespace", namespace]);
        }
        let ended = command.status().await.map_err(KubectlError::Start)?;
        Ok(exit_code(ended.code()))
    }

    /// What kubectl prints.
    pub(super) async fn text(&self, words: &[&str]) -> Result<String, KubectlError> {
        // Nothing secret is ever in these words.
        let what = || words.join(" ");
        let mut command = self.command();
        command.args(words).stdin(Stdio::null());
        let output = timeout(REQUEST, command.output()).await;
        let output = output.map_err(|_elapsed| KubectlError::Late { what: what() })?;
        let output = output.map_err(KubectlError::Start)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            let said = text(&output.stderr);
            Err(KubectlError::Refused { what: what(), said })
        }
    }

    /// The same, as JSON.
    pub(super) async fn json(&self, words: &[&str]) -> Result<serde_json::Value, KubectlError> {
        let text = self.text(&[words, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).map_err(|source| KubectlError::Answer {
            what: words.join(" "),
            source,
        })
    }

    /// The namespace of the context.
    pub(super) async fn namespace(&self) -> Result<String, KubectlError> {
        let path = "jsonpath={..namespace}";
        let words = ["config", "view", "--minify", "-o", path];
        let name = self.text(&words).await?;
        Ok(if name.is_empty() {
            "default".to_owned()
        } else {
            name
        })
    }
}
