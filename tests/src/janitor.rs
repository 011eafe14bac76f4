//! What is cleaned up at the end of the test binary, whichever way that comes.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell that cleans up once this process has ended, or earlier when it is dropped.
pub(crate) struct Janitor(Child);

impl Janitor {
    /// One that removes a folder.
    pub(crate) fn of(folder: &Path) -> Self {
        let folder = folder.to_str().expect("temporary folders have UTF-8 names");
        // Twice: what is being killed may still write.
        Self::running("rm -rf \"$0\"; sleep 1; rm -rf \"$0\"", &[folder])
    }

    /// One that runs a piece of shell with arguments, the first of which is `$0`.
    pub(crate) fn running(script: &str, arguments: &[&str]) -> Self {
        // Its input ends with us.
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("trap '' INT TERM HUP; cat >/dev/null; {script}"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("a shell starts"))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
