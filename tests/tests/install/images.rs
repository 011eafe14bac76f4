//! What `deploy/images/rootfs` makes is a whole file system: programs start in it, and find names.

use std::path::Path;
use std::process::{Command, Output};

use celeriac_tests::paths::{self, Profile, binary};
use tempfile::TempDir;

/// Runs a program in its image's file system, as its image's user. Needs root, as the node of these tests does.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Output {
    Command::new(paths::program("chroot", "coreutils"))
        .arg("--userspec=65532:65532")
        .arg(folder)
        .arg(format!("/usr/bin/{program}"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("it can be started")
}

#[test]
fn programs_start_in_their_images_and_find_names() {
    for program in [
        "celeriac-operator",
        "celeriac-aggregator",
        "celeriac-inspector",
        "celeriac",
    ] {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let made = Command::new(paths::root().join("deploy/images/rootfs"))
            .arg(binary(Profile::Debug, program))
            .arg(folder.path())
            .output()
            .expect("it can be started");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        assert!(!folder.path().join("bin/sh").exists());
        let version = run(folder.path(), program, &["--version"]);
        let said = String::from_utf8_lossy(&version.stderr);
        assert!(version.status.success(), "{program}: {said}");
        assert!(
            String::from_utf8_lossy(&version.stdout).starts_with(program),
            "{program}"
        );
        if program == "celeriac" {
            finds_names(folder.path());
        }
    }
}

/// A name of the hosts file, as Kubernetes writes one, is found; another is not.
fn finds_names(folder: &Path) {
    std::fs::write(folder.join("etc/hosts"), "127.0.0.1 aggregator.example\n")
        .expect("a folder of our own");
    for (name, reason) in [
        ("aggregator.example", "refused"),
        ("elsewhere.invalid", "lookup"),
    ] {
        let server = format!("http://{name}:1");
        let asked = run(folder, "celeriac", &["--server", &server, "apps"]);
        let said = String::from_utf8_lossy(&asked.stderr);
        assert!(
            said.to_lowercase().contains(reason),
            "{name}: no {reason} in {said}"
        );
    }
}
