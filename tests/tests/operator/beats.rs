//! Never two beats: not while one does not hear that it is to end, and not while its node is lost. Its pods are processes here.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use celeriac_tests::eventually;
use celeriac_tests::kube::{Namespace, SOON, condition};
use celeriac_tests::kubelet::{Image, Kubelet};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::operator::operator;

/// Kubernetes takes a node for lost 50 s after its last lease.
const LOST: Duration = Duration::from_mins(4);

/// A beat that does not end by being told, and ticks.
const DEAF: &str = r#"trap 'echo "$UID_ told" >>/log/beats' TERM; while :; do echo "$UID_ ticks" >>/log/beats; sleep 0.2; done"#;

/// A scheduler whose beat is deaf, and leaves a lost node at once.
fn scheduler(folder: &Path) -> String {
    let celery = json!({
        "name": "celery", "command": ["sh", "-c", DEAF],
        "env": [{"name": "UID_", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
        "volumeMounts": [{"name": "log", "mountPath": "/log"}],
    });
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "CeleryScheduler", "metadata": {"name": "beat"},
        "spec": {
            "image": "tools", "appName": "demo", "broker": {"address": "redis://redis/0"},
            "podTemplate": {"spec": {
                "containers": [celery], "terminationGracePeriodSeconds": 3, "securityContext": {"runAsUser": 65532},
                "tolerations": [{
                    "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 0,
                }],
                "volumes": [{"name": "log", "hostPath": {"path": folder}}],
            }},
        },
    })
    .to_string()
}

struct Beats {
    namespace: Namespace,
    folder: TempDir,
}

impl Beats {
    /// What the beats have noted: who, and what.
    fn noted(&self) -> Vec<(String, String)> {
        let file: PathBuf = self.folder.path().join("beats");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .map(|(who, what)| (who.to_owned(), what.to_owned()))
            .collect()
    }

    /// Who has been there, one after the other and never two at a time.
    fn lives(&self) -> Vec<String> {
        let mut lives: Vec<String> = self.noted().into_iter().map(|(who, _)| who).collect();
        lives.dedup();
        let all: BTreeSet<&String> = lives.iter().collect();
        assert_eq!(all.len(), lives.len(), "two at a time: {lives:?}");
        lives
    }

    /// The one pod, and the scheduler once it says that this beat runs. `before` have been.
    async fn runs(&self, before: &[String]) -> Value {
        let lives = eventually("another beat ticks", SOON, async || {
            let lives = self.lives();
            if lives.len() > before.len() {
                Ok(lives)
            } else {
                Err(lives.len())
            }
        })
        .await;
        assert_eq!(lives[..before.len()], *before);
        self.says("BeatRuns").await;
        let pod = self.namespace.get("pod", "beat-0").expect("it is there");
        assert_eq!(pod["metadata"]["uid"], *lives.last().expect("one ticks"));
        pod
    }

    /// The condition of the scheduler, once it has that reason.
    async fn says(&self, reason: &str) -> Value {
        let holds = |object: &Value| condition(object, "Ready")["reason"] == reason;
        let object = self
            .namespace
            .once("celeryscheduler", "beat", reason, holds);
        condition(&object.await, "Ready").clone()
    }
}

#[tokio::test]
async fn d13_never_two_beats_though_one_is_deaf_or_its_node_is_lost() {
    let (plane, operator) = operator().await;
    let namespace = plane.namespace("beats").await;
    let mut nodes = Vec::new();
    for name in ["a", "b"] {
        let kubelet = Kubelet::of(&namespace).name(&format!("{}-{name}", namespace.name()));
        nodes.push(kubelet.image("tools", Image::system(&[])).start().await);
    }
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
    let beats = Beats { namespace, folder };
    let mark = operator.mark();
    beats.namespace.apply(&scheduler(beats.folder.path()));
    beats.runs(&[]).await;

    // It is told to end and does not: the next begins when it was killed.
    let first = beats.lives();
    beats
        .namespace
        .kubectl(&["delete", "pod", "beat-0", "--wait=false"]);
    let pod = beats.runs(&first).await;
    let of_first = beats
        .noted()
        .into_iter()
        .filter(|(who, _)| *who == first[0]);
    let told = of_first.skip_while(|(_, what)| what == "ticks");
    assert!(told.count() > 1, "it ended when it was told");

    // Its node is cut off, where it goes on: there is no other, and it is said why, since when, and what can be done.
    let node = pod["spec"]["nodeName"].as_str().expect("it runs on one");
    let lost = nodes
        .iter()
        .find(|one| one.name() == node)
        .expect("it is ours");
    lost.silence(true);
    eventually("Kubernetes gives up on the pod", LOST, async || {
        let pod = beats.namespace.get("pod", "beat-0")?;
        let given_up = pod["metadata"]["deletionTimestamp"].is_string();
        if given_up {
            Ok(())
        } else {
            Err(pod["status"].to_string())
        }
    })
    .await;
    let said = beats.says("NodeSilent").await;
    assert_eq!(said["status"], "False");
    assert!(said["lastTransitionTime"].is_string());
    let message = said["message"].as_str().unwrap_or_default();
    for part in [
        node,
        "since 20",
        "no other is started",
        "kubectl taint node",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let before = beats.noted().len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(beats.namespace.names("pods"), ["beat-0"]);
    assert!(beats.noted().len() > before, "it does not go on");
    let lives = beats.lives();
    assert_eq!(lives.len(), 2);

    lost.silence(false);
    beats.runs(&lives).await;
    let writes = operator.writes(mark, &beats.namespace).into_iter();
    let of_pods: Vec<_> = writes
        .filter(|call| call.resource.starts_with("pods"))
        .collect();
    assert_eq!(of_pods, []);
    println!("{}", beats.namespace.told("CeleryScheduler").join("\n"));
}
