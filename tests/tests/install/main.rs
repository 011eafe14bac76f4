//! The charts, installed by Helm on a real control plane, with a node that runs their pods as processes; and what is left
//! when they go.

mod cluster;
mod images;
mod scales;
mod taken;

use std::process::{Command, Output};
use std::time::Duration;

use celeriac_tests::kube::{ControlPlane, Namespace};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::paths::{self, Profile, binary};
use celeriac_tests::{Process, eventually};
use serde_json::Value;
use tokio::sync::Mutex;

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_mins(2);

/// What the operator sets, and what has to be gone when it is.
const FINALIZER: &str = "celeriac.dev/deletion";

/// Runs helm as the administrator of a namespace; what it said.
fn helm(namespace: &Namespace, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(paths::helm())
        .args(arguments)
        .args(["--namespace", namespace.name()])
        .env("KUBECONFIG", namespace.kubeconfig())
        // Its caches.
        .env("HOME", ControlPlane::started().folder())
        .output()
        .expect("helm is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

fn chart(name: &str) -> String {
    let path = paths::root().join("deploy/charts").join(name);
    path.to_str().expect("a path in ASCII").to_owned()
}

/// A namespace that takes none but restricted pods.
async fn restricted(name: &str) -> Namespace {
    let namespace = ControlPlane::shared().await.namespace(name).await;
    namespace.kubectl(&[
        "label",
        "namespace",
        namespace.name(),
        "pod-security.kubernetes.io/enforce=restricted",
        "pod-security.kubernetes.io/warn=restricted",
    ]);
    let definitions = helm(
        &namespace,
        &["template", "definitions", &chart("celeriac-crds")],
    );
    namespace.apply(&definitions.expect("it renders"));
    namespace.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "-l",
        "app.kubernetes.io/name=celeriac",
    ]);
    namespace
}

/// An operator of all namespaces would be in the way of another test's, and what it has of the whole cluster too.
static TURN: Mutex<()> = Mutex::const_new(());

fn sample() -> String {
    let path = paths::root().join("deploy/samples/shop.yaml");
    std::fs::read_to_string(path).expect("the sample is there")
}

fn get(namespace: &Namespace, what: &str) -> Result<Value, String> {
    let text = namespace.try_kubectl(&["get", what, "-o", "json"])?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn finalizers(namespace: &Namespace) -> Result<Vec<String>, String> {
    let celery = get(namespace, "celery/shop")?;
    let all = celery["metadata"]["finalizers"].as_array().cloned();
    let texts = all.into_iter().flatten();
    Ok(texts
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect())
}

/// Waits until an operator has taken up the sample.
async fn taken_up(namespace: &Namespace) {
    eventually("the app is taken up", SOON, async || {
        get(namespace, "deployment/shop-mail")?;
        let finalizers = finalizers(namespace)?;
        if finalizers.iter().any(|one| one == FINALIZER) {
            Ok(())
        } else {
            Err(format!("finalizers {finalizers:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn what_helm_installs_makes_an_app_and_leaves_no_finalizer_behind() {
    let _turn = TURN.lock().await;
    let home = restricted("celeriac").await;
    let kubelet = Kubelet::of(&home)
        .image("celeriac/operator", Image::ours("celeriac-operator"))
        .start()
        .await;
    let installed = helm(
        &home,
        &[
            "install",
            "celeriac",
            &chart("celeriac"),
            "--set=aggregator.enabled=false",
            "--wait",
            "--timeout=3m",
        ],
    );
    let pods = home.kubectl(&["get", "pods", "-o", "wide"]);
    let notes = installed.unwrap_or_else(|error| panic!("{error}\n{pods}"));
    assert!(notes.contains("kubectl apply -f shop.yaml"), "{notes}");

    let shop = ControlPlane::started().namespace("shop").await;
    shop.apply(&sample());
    taken_up(&shop).await;

    let gone = helm(&home, &["uninstall", "celeriac", "--wait", "--timeout=3m"]);
    let pods = home.kubectl(&["get", "pods,jobs", "-o", "wide"]);
    gone.unwrap_or_else(|error| panic!("{error}\n{pods}"));
    assert_eq!(finalizers(&shop), Ok(Vec::new()));
    let left = home.kubectl(&[
        "get",
        "deployments,jobs,serviceaccounts,roles",
        "-o",
        "name",
    ]);
    assert!(!left.contains("celeriac"), "{left}");
    // Workers go on without it, and their app can be deleted.
    get(&shop, "deployment/shop-mail").expect("workers stay");
    shop.kubectl(&["delete", "celery", "shop", "--timeout=30s"]);
    drop(kubelet);
}

fn uninstall(namespace: &Namespace, seconds: &str) -> Output {
    Command::new(binary(Profile::Debug, "celeriac-operator"))
        .args(["uninstall", "--namespace", namespace.name()])
        .args(["--lease-namespace", namespace.name(), "--timeout", seconds])
        .env("KUBECONFIG", namespace.kubeconfig())
        .output()
        .expect("it can be started")
}

#[tokio::test]
async fn uninstall_waits_until_no_operator_acts_and_can_be_repeated() {
    let _turn = TURN.lock().await;
    let namespace = restricted("stays").await;
    namespace.apply(&sample());
    let program = binary(Profile::Debug, "celeriac-operator");
    let mut operator = Process::start("celeriac-operator", &program, |command| {
        command
            .env("KUBECONFIG", namespace.kubeconfig())
            .args(["run", "--namespace", namespace.name()])
            .args(["--lease-namespace", namespace.name()]);
    });
    taken_up(&namespace).await;
    let finalizer =
        r#"[{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/theirs"}]"#;
    namespace.kubectl(&["patch", "celery", "shop", "--type=json", "-p", finalizer]);

    let refused = uninstall(&namespace, "5");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    for words in ["holds the Lease celeriac-operator", "--stop-deployment"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let kept = finalizers(&namespace).expect("it is there");
    assert!(kept.contains(&FINALIZER.to_owned()), "{kept:?}");

    operator.stop(Duration::from_secs(20));
    let plane = ControlPlane::started();
    for writes_wanted in [1, 0] {
        let mark = plane.audit().mark();
        let done = uninstall(&namespace, "60");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        assert_eq!(
            finalizers(&namespace),
            Ok(vec!["example.com/theirs".to_owned()])
        );
        let calls = plane.audit().calls_since(mark).into_iter();
        let writes = calls.filter(|call| {
            call.is_write() && call.namespace == namespace.name() && call.resource == "celeries"
        });
        assert_eq!(writes.count(), writes_wanted, "{said}");
    }
    let clear = r#"{"metadata": {"finalizers": null}}"#;
    namespace.kubectl(&["patch", "celery", "shop", "--type=merge", "-p", clear]);
}
