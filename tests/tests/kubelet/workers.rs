//! Celery workers as pods.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::{Celery, Redis, eventually, turn};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SOON, bed, container, ready};

/// Two workers with a broker URL from a Secret, Ready once they have written the file that Celery writes as it starts.
fn workers(url: &str, truth: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: broker}}
stringData: {{url: "{url}"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: mail}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: mail}}}}
  template:
    metadata: {{labels: {{app: mail}}}}
    spec:
      terminationGracePeriodSeconds: 60
      securityContext: {{runAsNonRoot: true}}
      containers:
      - name: worker
        image: demo:1
        command: [celery, -A, demo, worker]
        args: [-n, celery@$(POD_NAME), -c, "1", -Q, celery, --pidfile, /tmp/worker.pid, -l, INFO]
        env:
        - {{name: DEMO_BROKER, valueFrom: {{secretKeyRef: {{name: broker, key: url}}}}}}
        - {{name: DEMO_LOG, value: /truth/log}}
        - {{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        readinessProbe: {{exec: {{command: [test, -s, /tmp/worker.pid]}}, periodSeconds: 1}}
        resources: {{limits: {{cpu: "1", memory: 256Mi}}}}
        volumeMounts: [{{name: truth, mountPath: /truth}}]
      volumes: [{{name: truth, hostPath: {{path: {truth}}}}}]
"#
    )
}

/// The node names of the workers that answer Celery's own ping.
fn answering(celery: &Celery) -> BTreeSet<String> {
    let said = celery.run("print('\\n'.join(app.control.inspect(timeout=3).ping() or {}))");
    said.split_whitespace().map(str::to_owned).collect()
}

async fn all_answer(celery: &Celery, pods: &[Pod]) {
    let names: BTreeSet<String> = pods
        .iter()
        .map(|pod| format!("celery@{}", pod.name_any()))
        .collect();
    eventually("every pod's worker answers", SOON, async || {
        let answering = answering(celery);
        if answering == names {
            Ok(())
        } else {
            Err(format!("{answering:?}"))
        }
    })
    .await;
}

/// The pod whose worker has said that it received a task.
async fn receiver<'a>(kubelet: &Kubelet, pods: &'a [Pod], id: &str) -> &'a Pod {
    eventually("a worker has the task", SOON, async || {
        let mut pods = pods.iter();
        pods.find(|pod| kubelet.log(&pod.name_any(), "worker").contains(id))
            .ok_or("none")
    })
    .await
}

#[tokio::test]
async fn workers_run_come_back_when_killed_and_finish_their_task_when_scaled_away() {
    let _turn = turn().await;
    let (namespace, kubelet) = bed("workers", || vec![("demo", Image::celery("5.7"))]).await;
    let redis = Redis::builder().listen(kubelet.host()).start();
    let celery = Celery::new("5.7", &redis.url());
    let address = (kubelet.host(), redis.address().port()).into();
    let truth = truth_folder();
    let folder = truth.path().to_str().expect("it is UTF-8");
    namespace.apply(&workers(&redis.url_of(address, 0), folder));

    let pods = ready(&namespace, "app=mail", 2).await;
    all_answer(&celery, &pods).await;
    assert_eq!(
        celery.run("print(add.delay(2, 3).get(timeout=30))").trim(),
        "5"
    );

    let victim = pods[0].name_any();
    kubelet.signal(&victim, "worker", Signal::SIGKILL);
    let api: Api<Pod> = namespace.api();
    eventually("the killed worker runs again", SOON, async || {
        let status = container(
            &api.get(&victim).await.map_err(|error| error.to_string())?,
            "worker",
        );
        if status.restart_count == 1 && status.ready {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let status = container(&api.get(&victim).await.expect("it is there"), "worker");
    let ended = status
        .last_state
        .and_then(|state| state.terminated)
        .expect("it ended once");
    assert_eq!(ended.exit_code, 137);
    all_answer(&celery, &pods).await;

    let task = celery.run("print(nap.delay(8).id)").trim().to_owned();
    let at = receiver(&kubelet, &pods, &task).await.name_any();
    namespace.kubectl(&["scale", "deployment", "mail", "--replicas=0"]);
    eventually("no pod is left", SOON, async || {
        let left = api
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        if left.items.is_empty() {
            Ok(())
        } else {
            Err(format!("{} pods", left.items.len()))
        }
    })
    .await;
    let truth = std::fs::read_to_string(truth.path().join("log")).expect("tasks wrote it");
    let lines = truth
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of_task = lines.filter(|line| line["id"] == task);
    let told: Vec<_> = of_task
        .map(|line| (line["worker"].clone(), line["what"].clone()))
        .collect();
    let worker = format!("celery@{at}");
    assert_eq!(
        told,
        [
            (json!(worker), json!("start")),
            (json!(worker), json!("return"))
        ]
    );
    let result = celery.run(&format!("print(app.AsyncResult('{task}').get(timeout=10))"));
    assert_eq!(result.trim(), "8");
    assert_eq!(answering(&celery), BTreeSet::new());
}

/// A folder that every user may write to.
fn truth_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
    folder
}
