//! Which RabbitMQ a node is, and how its programs are run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::paths;

/// Which RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian 12's own, 3.10.
    Three,
    /// Debian 13's, 4.0, as it comes.
    Four,
    /// The same without what later versions of 4 do without: queues that are neither durable nor exclusive, and a prefetch
    /// for a whole channel.
    Strict,
}

impl Kind {
    /// How its version begins.
    pub fn version(self) -> &'static str {
        match self {
            Self::Three => "3.",
            Self::Four | Self::Strict => "4.",
        }
    }

    /// What is in its configuration and not in that of others.
    pub(super) fn configuration(self) -> &'static str {
        match self {
            Self::Three | Self::Four => "",
            Self::Strict => {
                "deprecated_features.permit.transient_nonexcl_queues = false\n\
                 deprecated_features.permit.global_qos = false\n"
            }
        }
    }

    /// The program that runs one of RabbitMQ's scripts, and what comes before the script's own arguments. The script itself:
    /// the one on the `PATH` changes to another user.
    pub(super) fn command(self, script: &str) -> (PathBuf, Vec<OsString>) {
        let path = Path::new("/usr/lib/rabbitmq/bin").join(script);
        match self {
            Self::Three => {
                assert!(
                    path.exists(),
                    "{} is missing: install Debian's package rabbitmq-server, without starting it",
                    path.display()
                );
                (path, Vec::new())
            }
            Self::Four | Self::Strict => {
                let root = paths::rabbitmq4();
                let words = [
                    "--mount".into(),
                    "/bin/sh".into(),
                    enter().into(),
                    root.into(),
                ];
                let words = words
                    .into_iter()
                    .chain([std::env::temp_dir().into(), path.into()]);
                (paths::program("unshare", "util-linux"), words.collect())
            }
        }
    }
}

/// The script that becomes a program of another root folder.
fn enter() -> PathBuf {
    paths::root().join("tests/src/rabbitmq/enter.sh")
}
