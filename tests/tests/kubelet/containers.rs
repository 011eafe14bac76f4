//! What a container finds when it starts, and in which order containers come and go.

use std::path::Path;

use celeriac_tests::eventually;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};

use super::{SOON, bed, container, phase, pod_is};

const EVERYTHING: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green, size: "3"}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {word: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: everything, labels: {app: a1}}
spec:
  restartPolicy: Never
  securityContext: {fsGroup: 2000}
  initContainers:
  - {name: first, image: tools, command: [sh, -c, "echo from-init >/shared/file"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: tools:latest
    command: [sh, -c]
    args:
    - |
      read -r pid rest </proc/self/stat
      echo "env $SIZE_colour $SECRET $LABEL $(NESTED)" '$$(SECRET)' "$CPU"
      echo "process $pid $(id -u) $(id -g) $(hostname) $PWD"
      echo "files $(cat /shared/file) $(cat /s/renamed) $(cat /c/colour) $(cat /down/name) $(stat -f -c %T /tmp)"
      echo "token $(cut -c1-3 /var/run/secrets/kubernetes.io/serviceaccount/token) $(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace)"
      echo "read-only $(touch /x 2>&1 | grep -c Read-only) $(touch /c/x 2>&1 | grep -c Read-only)"
      echo "hidden $(ls -A /root)$(ls -A /home)$(ls -A /tmp)"
    workingDir: /shared
    envFrom: [{prefix: SIZE_, configMapRef: {name: settings}}]
    env:
    - {name: SECRET, valueFrom: {secretKeyRef: {name: password, key: word}}}
    - {name: ABSENT, valueFrom: {secretKeyRef: {name: password, key: none, optional: true}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: NESTED, value: "<$(SECRET)>"}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    resources: {limits: {cpu: 1500m}}
    securityContext: {runAsUser: 1234, readOnlyRootFilesystem: true}
    volumeMounts:
    - {name: shared, mountPath: /shared}
    - {name: s, mountPath: /s}
    - {name: c, mountPath: /c}
    - {name: down, mountPath: /down}
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: s, secret: {secretName: password, items: [{key: word, path: renamed}]}}
  - {name: c, configMap: {name: settings}}
  - {name: down, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
"#;

#[tokio::test]
async fn a_container_finds_what_its_pod_says() {
    let (namespace, kubelet) = bed("everything", Vec::new).await;
    namespace.apply(EVERYTHING);
    let pod = pod_is(&namespace, "everything", "has ended", |pod| {
        ["Succeeded", "Failed"].contains(&phase(pod))
    })
    .await;
    let log = kubelet.log("everything", "main");
    assert_eq!(phase(&pod), "Succeeded", "{log}{:?}", pod.status);
    let expected = format!(
        "env green s3cret a1 <s3cret> $(SECRET) 2\n\
         process 1 1234 1234 everything /shared\n\
         files from-init s3cret green everything tmpfs\n\
         token eyJ {}\n\
         read-only 1 1\n\
         hidden \n",
        namespace.name()
    );
    assert_eq!(log, expected);
}

const ORDER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: order}
spec:
  terminationGracePeriodSeconds: 30
  initContainers:
  - name: sidecar
    image: tools
    restartPolicy: Always
    command: [sh, -c, 'trap "echo sidecar ended >>/log/file; exit 0" TERM; sleep 1; echo sidecar up >>/log/file; touch /tmp/up; while :; do sleep 0.1; done']
    startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 100}
    volumeMounts: [{name: log, mountPath: /log}]
  containers:
  - name: main
    image: tools
    command: [sh, -c, 'trap "sleep 1; echo main ended >>/log/file; exit 0" TERM; echo main up >>/log/file; while :; do sleep 0.1; done']
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo hook >>/log/file"]}}}
    volumeMounts: [{name: log, mountPath: /log}]
  - name: deaf
    image: tools
    command: [sh, -c, 'trap "" TERM; while :; do sleep 0.1; done']
  - name: fragile
    image: tools
    command: [sh, -c, 'trap "exit 0" TERM; touch /tmp/alive; while :; do sleep 0.1; done']
    startupProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, failureThreshold: 100}
    livenessProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 20}
  volumes:
  - {name: log, hostPath: {path: FOLDER}}
"#;

#[tokio::test]
async fn sidecars_come_first_and_go_last_and_grace_ends() {
    let (namespace, kubelet) = bed("order", Vec::new).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("it is UTF-8");
    namespace.apply(&ORDER.replace("FOLDER", path));
    let is_ready = super::is_ready;
    let pod = pod_is(&namespace, "order", "is Ready", is_ready).await;
    assert_eq!(container(&pod, "sidecar").started, Some(true));
    let told = || std::fs::read_to_string(folder.path().join("file")).unwrap_or_default();
    eventually("main is up", SOON, async || {
        let told = told();
        if told == "sidecar up\nmain up\n" {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;

    let pid = kubelet.pid("order", "fragile").expect("it runs");
    let inside = Path::new("/proc").join(pid.to_string()).join("root");
    std::fs::remove_file(inside.join("tmp/alive")).expect("root may");
    let pod = pod_is(&namespace, "order", "was restarted by its probe", |pod| {
        container(pod, "fragile").restart_count == 1 && is_ready(pod)
    })
    .await;
    assert_eq!(container(&pod, "main").restart_count, 0);

    let api: Api<Pod> = namespace.api();
    let deaf = kubelet.pid("order", "deaf").expect("it runs");
    let begun = std::time::Instant::now();
    let parameters = DeleteParams {
        grace_period_seconds: Some(4),
        ..DeleteParams::default()
    };
    api.delete("order", &parameters).await.expect("it is there");
    eventually("the pod is gone", SOON, async || {
        match api.get_opt("order").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // The deaf one was given its four seconds, the sidecar waited for it, and nothing runs any more.
    assert!(begun.elapsed().as_millis() >= 4000, "{:?}", begun.elapsed());
    assert!(!std::path::Path::new(&format!("/proc/{deaf}")).exists());
    assert_eq!(
        told(),
        "sidecar up\nmain up\nhook\nmain ended\nsidecar ended\n"
    );
}

const REFUSED: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec: {containers: [{name: main, image: 'nobody/knows:1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: root}
spec: {securityContext: {runAsNonRoot: true}, containers: [{name: main, image: tools, command: ['true']}]}
---
apiVersion: v1
kind: Pod
metadata: {name: failing}
spec: {containers: [{name: main, image: tools, command: [sh, -c, exit 3]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: tools, command: ['true']}]}}}
";

#[tokio::test]
async fn what_cannot_run_or_ends_is_told_as_kubernetes_tells_it() {
    let (namespace, _kubelet) = bed("refused", Vec::new).await;
    namespace.apply(REFUSED);
    for (name, reason) in [
        ("unknown", "ErrImagePull"),
        ("root", "CreateContainerConfigError"),
        ("failing", "CrashLoopBackOff"),
    ] {
        pod_is(&namespace, name, reason, |pod| {
            let state = container(pod, "main").state.and_then(|state| state.waiting);
            state.and_then(|waiting| waiting.reason).as_deref() == Some(reason)
        })
        .await;
    }
    let failing = pod_is(&namespace, "failing", "is there", |_| true).await;
    let last = container(&failing, "main")
        .last_state
        .and_then(|state| state.terminated);
    assert_eq!(last.map(|ended| ended.exit_code), Some(3));
    namespace.kubectl(&[
        "wait",
        "--for=condition=complete",
        "job/once",
        "--timeout=120s",
    ]);
}

const TOGETHER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: together}
spec:
  shareProcessNamespace: true
  containers:
  - name: main
    image: tools
    command: [sh, -c]
    # No handler of its own: a process 1 would not hear SIGTERM. What it leaves behind goes with it.
    args: ['read -r pid rest </proc/self/stat; read -r name </proc/1/comm; echo "$pid $name"; sleep 987654 & sleep 987654']
  - name: other
    image: tools
    command: [sh, -c, 'trap "" TERM; until grep -qs 987654 /proc/[0-9]*/cmdline; do sleep 0.1; done; echo seen; while :; do sleep 0.1; done']
"#;

/// Processes of this machine with that argument.
fn running(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("it is mounted");
    let lines = processes.flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    lines
        .filter(|line| line.starts_with("sleep\0") && line.contains(argument))
        .count()
}

#[tokio::test]
async fn containers_of_one_process_namespace_see_each_other_and_end_by_a_signal() {
    let (namespace, kubelet) = bed("together", Vec::new).await;
    namespace.apply(TOGETHER);
    pod_is(&namespace, "together", "is Ready", super::is_ready).await;
    eventually("it is seen from beside", SOON, async || {
        let seen = kubelet.log("together", "other");
        if seen == "seen\n" && running("987654") == 2 {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    let log = kubelet.log("together", "main");
    let (pid, first) = log.trim_end().split_once(' ').expect("two words");
    assert_ne!(pid, "1");
    assert_eq!(first, "sleep");

    kubelet.signal("together", "main", nix::sys::signal::Signal::SIGTERM);
    let pod = pod_is(&namespace, "together", "was started again", |pod| {
        container(pod, "main").restart_count == 1 && super::is_ready(pod)
    })
    .await;
    let ended = container(&pod, "main").last_state;
    let ended = ended.and_then(|state| state.terminated);
    assert_eq!(ended.map(|ended| ended.exit_code), Some(143));
    assert_eq!(container(&pod, "other").restart_count, 0);
    eventually(
        "two run, those of the second life",
        SOON,
        async || match running("987654") {
            2 => Ok(()),
            other => Err(format!("{other} run")),
        },
    )
    .await;

    let begun = std::time::Instant::now();
    let parameters = DeleteParams {
        grace_period_seconds: Some(3),
        ..DeleteParams::default()
    };
    let api: Api<Pod> = namespace.api();
    let deleted = api.delete("together", &parameters).await;
    deleted.expect("it is there");
    eventually("nothing of it runs", SOON, async || {
        match (api.get_opt("together").await, running("987654")) {
            (Ok(None), 0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(begun.elapsed().as_secs() >= 3, "{:?}", begun.elapsed());
}
