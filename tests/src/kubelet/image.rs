//! What stands for container images: nothing is pulled, a name stands for programs of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::paths::{self, Profile};

/// The user that our images name: not root, so that `runAsNonRoot` holds.
const USER: u32 = 65532;

/// What an image brings into a container's file system, and what it runs.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// What of this machine is seen where in the container; read-only.
    pub(super) mounts: Vec<(PathBuf, String)>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) user: u32,
}

impl Image {
    /// The demo app (`tests/app`, as module `demo`) with a Celery version, `celery` on the `PATH`, not root.
    ///
    /// # Panics
    /// When its Python environment has not been made.
    pub fn celery(version: &str) -> Self {
        let python = paths::python(version);
        let environment = python
            .ancestors()
            .nth(2)
            .expect("an environment's Python lies in its bin")
            .to_owned();
        let mut image = Self::system(&[]);
        image.user = USER;
        // Its scripts name their interpreter by its whole path, and that links to the Python it was made with.
        let folder = text(&environment);
        image = image.mount(&environment, &folder);
        if let Some(home) = python_home(&environment) {
            image = image.mount(&home, &text(&home));
        }
        let app = paths::root().join("tests/app");
        let modules = if version == "4.4" {
            "/app:/app/py311"
        } else {
            "/app"
        };
        image
            .mount(&app, "/app")
            .env("PATH", &format!("{folder}/bin:{PATH}"))
            .env("PYTHONPATH", modules)
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
    }

    /// One of our binaries, as its image has it: the entry point, not root.
    pub fn ours(binary: &str) -> Self {
        let inside = format!("/usr/local/bin/{binary}");
        let mut image = Self::system(&[]).mount(&paths::binary(Profile::Debug, binary), &inside);
        image.user = USER;
        image.entrypoint = vec![inside];
        image
    }

    /// What this machine has installed, run as root unless the pod says otherwise, with this command by default.
    pub fn system(command: &[&str]) -> Self {
        let mut image = Self {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            ..Self::default()
        };
        image.environment.insert("PATH".to_owned(), PATH.to_owned());
        image
    }

    /// Shows a file or folder of this machine in the container.
    #[must_use]
    pub fn mount(mut self, source: &Path, inside: &str) -> Self {
        self.mounts.push((source.to_owned(), inside.to_owned()));
        self
    }

    /// Sets a variable, unless the pod does.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What runs, by the rules of Kubernetes: a pod's command replaces entry point and default command, its arguments
    /// replace the latter only.
    pub(super) fn line(
        &self,
        command: Option<&[String]>,
        arguments: Option<&[String]>,
    ) -> Vec<String> {
        let (first, rest) = match (command, arguments) {
            (Some(command), arguments) => (command, arguments.unwrap_or_default()),
            (None, Some(arguments)) => (self.entrypoint.as_slice(), arguments),
            (None, None) => (self.entrypoint.as_slice(), self.command.as_slice()),
        };
        first.iter().chain(rest).cloned().collect()
    }
}

/// Where programs are in every image.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The folder of the Python that an environment was made with, unless it is the system's.
fn python_home(environment: &Path) -> Option<PathBuf> {
    let config = std::fs::read_to_string(environment.join("pyvenv.cfg"))
        .expect("every environment has a pyvenv.cfg");
    let home = config
        .lines()
        .find_map(|line| line.strip_prefix("home = "))
        .expect("pyvenv.cfg names a home");
    let home = Path::new(home.trim());
    (!home.starts_with("/usr")).then(|| home.parent().unwrap_or(home).to_owned())
}

fn text(path: &Path) -> String {
    path.to_str()
        .expect("our folders have UTF-8 names")
        .to_owned()
}

/// The images that a node knows, by the beginning of their names; the longest that fits counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Images(BTreeMap<String, Image>);

impl Images {
    pub(super) fn add(&mut self, name: &str, image: Image) {
        self.0.insert(name.to_owned(), image);
    }

    pub(super) fn find(&self, name: &str) -> Option<&Image> {
        let fits = self
            .0
            .iter()
            .filter(|(begin, _)| name.starts_with(begin.as_str()));
        fits.max_by_key(|(begin, _)| begin.len())
            .map(|(_, image)| image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_pod_replaces_entry_point_and_command_as_kubernetes_does() {
        let image = Image {
            entrypoint: words(&["e"]),
            command: words(&["c"]),
            ..Image::default()
        };
        let (x, y) = (words(&["x"]), words(&["y"]));
        assert_eq!(image.line(None, None), words(&["e", "c"]));
        assert_eq!(image.line(None, Some(&y)), words(&["e", "y"]));
        assert_eq!(image.line(Some(&x), None), words(&["x"]));
        assert_eq!(image.line(Some(&x), Some(&y)), words(&["x", "y"]));
    }

    #[test]
    fn the_longest_name_that_fits_counts() {
        let mut images = Images::default();
        images.add("redis", Image::system(&["a"]));
        images.add("redis:7", Image::system(&["b"]));
        let command = |name: &str| images.find(name).map(|image| image.command.join(" "));
        assert_eq!(command("redis:6"), Some("a".to_owned()));
        assert_eq!(command("redis:7.2"), Some("b".to_owned()));
        assert_eq!(command("valkey"), None);
    }
}
