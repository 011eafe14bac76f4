//! Where things are: the checkout, the cache, Python environments, built binaries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The top of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate is a folder of the checkout")
}

/// The cache folder: `CELERIAC_CACHE`, else `celeriac` in the user's cache folder. `tests/run` and `deploy/quickstart`
/// use the same rule.
///
/// # Panics
/// When neither `CELERIAC_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("CELERIAC_CACHE") {
        return PathBuf::from(folder);
    }
    let caches = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    caches
        .expect("CELERIAC_CACHE, XDG_CACHE_HOME or HOME must be set")
        .join("celeriac")
}

/// The Python of the environment with this Celery version (`5.7`, `5.6`, `5.4`, `5.2`, `4.4`).
///
/// # Panics
/// When the environment has not been made.
pub fn python(celery: &str) -> PathBuf {
    let python = cache().join(format!("venv-{celery}")).join("bin/python");
    assert!(
        python.exists(),
        "no Python environment with Celery {celery}: run `tests/venv {celery}`"
    );
    python
}

/// What to build, and where it ends up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// What most tests run.
    Debug,
    /// What budgets are measured on.
    Release,
}

static BUILT: LazyLock<Mutex<BTreeMap<Profile, PathBuf>>> = LazyLock::new(Mutex::default);

/// The path of a binary of this workspace, built from the sources as they are now.
///
/// # Panics
/// When the build fails; the compiler's words are in the message.
pub fn binary(profile: Profile, name: &str) -> PathBuf {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = built.entry(profile).or_insert_with(|| build(profile));
    let path = folder.join(name);
    assert!(path.exists(), "cargo built no {}", path.display());
    path
}

/// The target folder that this test was built in.
///
/// # Panics
/// When the test was not built by cargo.
pub fn target() -> PathBuf {
    let this = std::env::current_exe().expect("a running test has a path");
    let target = this.ancestors().nth(3);
    target
        .expect("cargo puts tests into <target>/<profile>/deps")
        .to_owned()
}

/// Takes out of a child's environment what cargo sets for a test: with it, build scripts that watch those variables
/// (ring's) would run again and again in a cargo below us.
pub fn without_cargo_variables(command: &mut Command) -> &mut Command {
    for (key, _) in std::env::vars_os() {
        let text = key.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    command
}

/// Builds the product's binaries; costs about a second when they are current. `tests/run` has built those of most tests with
/// the tests themselves, and names their folder.
fn build(profile: Profile) -> PathBuf {
    let built = std::env::var_os("CELERIAC_TEST_BINARIES");
    if let Some(folder) = built.filter(|_| profile == Profile::Debug) {
        return folder.into();
    }
    let target = target();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_cargo_variables(&mut cargo)
        .args(["build", "--quiet", "--locked", "--bins"])
        .args(["-p", "celeriac-aggregator", "-p", "celeriac-inspector"])
        .args(["-p", "celeriac-client", "-p", "celeriac-operator"])
        .args((profile == Profile::Release).then_some("--release"))
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(root());
    let output = cargo.output().expect("cargo runs, as it runs this test");
    assert!(
        output.status.success(),
        "the binaries do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join(match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    })
}

/// Valkey's server: on the `PATH`, else in the cache, where `tests/run` puts it.
///
/// # Panics
/// When it is not there: a suite that skipped it would look as if Valkey had been tested.
pub fn valkey() -> PathBuf {
    let name = "valkey-server";
    let kept = cache().join("valkey/usr/bin").join(name);
    let found = on_path(name).or_else(|| kept.is_file().then(|| kept.clone()));
    found.unwrap_or_else(|| {
        panic!(
            "{name} is neither installed nor at {}: run `bash -c '. deploy/need.sh && need_valkey'`",
            kept.display()
        )
    })
}

/// The root folder with RabbitMQ 4 in it, where `tests/run` puts it.
///
/// # Panics
/// When it is not there: a suite that skipped it would look as if RabbitMQ 4 had been tested.
pub fn rabbitmq4() -> PathBuf {
    let kept = cache().join("rabbitmq4");
    assert!(
        kept.join("etc/hosts").is_file(),
        "RabbitMQ 4 is not at {}: run `bash -c '. deploy/need.sh && need_rabbitmq4'`",
        kept.display()
    );
    kept
}

/// Helm, where `tests/run` puts it.
///
/// # Panics
/// When it is not there.
pub fn helm() -> PathBuf {
    let kept = cache().join("tools/bin/helm");
    assert!(
        kept.is_file(),
        "helm is not at {}: run `bash -c '. deploy/need.sh && need_helm v4.3.1 \"$(cache_folder)/tools\"'`",
        kept.display()
    );
    kept
}

/// The path of a program, with what to install when it is missing.
///
/// # Panics
/// When it is not on the `PATH`.
pub fn program(name: &str, package: &str) -> PathBuf {
    on_path(name)
        .unwrap_or_else(|| panic!("{name} is not installed: install the package {package}"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
