//! The plugin of kubectl, with a kubectl that is a script. What it does with a real one, a cluster and an aggregator is tested in
//! `tests/tests/install`.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A folder with our binary under its other name, and a script as kubectl, which writes down what it is asked.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str, script: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("plugin-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        let plugin = folder.join("kubectl-celery");
        symlink(env!("CARGO_BIN_EXE_celeriac"), plugin).expect("a folder of our own");
        let kubectl = folder.join("kubectl");
        let log = folder.join("log");
        let text = format!("#!/bin/sh\necho \"$@\" >>'{}'\n{script}\n", log.display());
        std::fs::write(&kubectl, text).expect("a folder of our own");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&kubectl, mode).expect("a file of our own");
        Self { folder }
    }

    /// Exit status, standard output and standard error.
    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        let path = std::env::var("PATH").expect("there is one");
        let path = format!("{}:{path}", self.folder.display());
        let output = Command::new(self.folder.join("kubectl-celery"))
            .args(line.split_whitespace())
            .env("PATH", path)
            .env_remove("CELERIAC_TOKEN")
            .env_remove("CELERIAC_TOKEN_FILE")
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status.code();
        (status, text(&output.stdout), text(&output.stderr))
    }

    /// What kubectl was asked, a line for each time.
    fn asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

#[test]
fn what_the_api_server_knows_is_asked_of_kubectl() {
    let bench = Bench::new("kubectl", "echo shown; exit 7");
    for (line, asked) in [
        (
            "--context east -n live status",
            "--context=east get celeries,celeryworkers,celeryschedulers -o wide --namespace live",
        ),
        (
            "status -A",
            "get celeries,celeryworkers,celeryschedulers -o wide --all-namespaces",
        ),
        (
            "pause shop",
            "annotate celeries shop celeriac.dev/paused=true --overwrite",
        ),
        (
            "-n live resume shop",
            "annotate celeries shop celeriac.dev/paused- --namespace live",
        ),
    ] {
        let (status, out, err) = bench.run(line);
        assert_eq!(
            (status, out.as_str(), err.as_str()),
            (Some(7), "shown\n", "")
        );
        assert_eq!(bench.asked().last().map(String::as_str), Some(asked));
    }
}

#[test]
fn no_aggregator_is_said_with_the_way_out() {
    let bench = Bench::new("none", r#"echo '{"items": []}'"#);
    let (status, _, err) = bench.run("--celeriac-namespace tools workers");
    assert_eq!(status, Some(1));
    for words in ["the namespace tools", "--celeriac-namespace"] {
        assert!(err.contains(words), "{words} in {err}");
    }
    assert_eq!(bench.asked().len(), 1);
}

/// Who may do what is Kubernetes' to say, in its words; the token is said by nobody.
#[test]
fn what_kubectl_refuses_is_said_in_its_words() {
    let script = r#"case "$*" in
        *services*) echo '{"items": [{"metadata": {"name": "c-aggregator"}, "spec": {"ports": [{"port": 5555}]}}]}' ;;
        *c-controller*) echo 'Error from server (Forbidden): you cannot create serviceaccounts/token' >&2; exit 1 ;;
        "create token c-reader"*) echo planted-token ;;
        *configmap*) echo 'Error from server (NotFound): configmaps "c-aggregator-ca" not found' >&2; exit 1 ;;
        *port-forward*) echo 'error: unable to forward port because pod is not running' >&2; exit 1 ;;
        *) exit 9 ;;
    esac"#;
    let bench = Bench::new("refused", script);
    for (line, words) in [
        ("control ping", "you cannot create serviceaccounts/token"),
        (
            "drain celery@pod",
            "you cannot create serviceaccounts/token",
        ),
        ("workers", "pod is not running"),
    ] {
        let (status, out, err) = bench.run(line);
        assert_eq!(status, Some(1), "{line}: {err}");
        assert!(err.contains(words), "{line}: {err}");
        assert!(!format!("{out}{err}").contains("planted-token"), "{err}");
    }
    let token = "create token c-reader -n celeriac --audience=celeriac --duration=1h";
    assert!(bench.asked().iter().any(|asked| asked == token));
}
