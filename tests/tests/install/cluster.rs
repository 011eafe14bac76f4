//! The chart at its defaults, on a cluster: an app is made and inspected, and people look at it and control it as they may, by
//! `kubectl celery`. kubectl and the API server are real but for port-forward, which the node of these tests does not know: a
//! proxy on the same machine stands for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use celeriac_tests::kube::{Access, ControlPlane, Namespace};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::paths::{Profile, binary};
use celeriac_tests::product::http_get;
use celeriac_tests::{Celery, Proxy, Redis, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{SOON, TURN, chart, get, helm, restricted};

/// A person, at a terminal with kubectl and its plugin.
struct Person {
    access: Access,
    folder: TempDir,
}

impl Person {
    async fn of(group: &str, forwarded: &Proxy) -> Self {
        let plane = ControlPlane::started();
        let folder = TempDir::new().expect("the temporary folder is writable");
        let plugin = folder.path().join("kubectl-celery");
        symlink(binary(Profile::Debug, "celeriac"), plugin).expect("a folder of our own");
        let kubectl = folder.path().join("kubectl");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = port-forward ]; then\n  echo 'Forwarding from 127.0.0.1:{} -> 5555'\n  \
             exec sleep 600\nfi\nexec '{}' \"$@\"\n",
            forwarded.address().port(),
            plane.programs().join("kubectl").display()
        );
        std::fs::write(&kubectl, script).expect("a folder of our own");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&kubectl, mode).expect("a file of our own");
        let access = plane.user(&format!("somebody-of-{group}"), group).await;
        Self { access, folder }
    }

    /// `kubectl celery …`: what it printed, or its exit status and what it complained of.
    fn celery(
        &self,
        home: &Namespace,
        arguments: &[&str],
    ) -> Result<String, (Option<i32>, String)> {
        let path = std::env::var("PATH").expect("there is one");
        let folder = self.folder.path();
        let output = Command::new(folder.join("kubectl-celery"))
            .args(["--celeriac-namespace", home.name()])
            .args(arguments)
            .env("PATH", format!("{}:{path}", folder.display()))
            .env("KUBECONFIG", self.access.kubeconfig())
            .env("HOME", folder)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err((output.status.code(), text(&output.stderr)))
        }
    }

    fn may(&self, home: &Namespace, what: &[&str]) -> bool {
        let words = [&["auth", "can-i", "-n", home.name()], what].concat();
        self.access.try_kubectl(&words).is_ok()
    }
}

fn subject(group: &str) -> Value {
    json!([{"kind": "Group", "name": group, "apiGroup": "rbac.authorization.k8s.io"}])
}

fn app(broker: &str) -> String {
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
        "spec": {
            "image": "example/demo:1", "appName": "demo",
            "broker": {"type": "external", "brokerAddress": broker},
            "inspector": {"enableEvents": true},
            "workers": [{
                "name": "default", "replicas": 1, "concurrency": 1,
                "env": [{"name": "DEMO_BROKER", "value": broker}],
            }],
        },
    })
    .to_string()
}

/// The aggregator of the chart, behind a port of this machine.
fn forwarded(home: &Namespace) -> Proxy {
    let pod = get(home, "pod/celeriac-aggregator-0").expect("the chart has one");
    let address = pod["status"]["podIP"].as_str().expect("it runs");
    let address: Ipv4Addr = address.parse().expect("an address");
    Proxy::start(SocketAddr::from((address, 5555)))
}

#[tokio::test]
async fn at_its_defaults_the_chart_inspects_an_app_for_people_who_may_look() {
    let _turn = TURN.lock().await;
    let home = restricted("celeriac").await;
    let live = ControlPlane::started().namespace("live").await;
    let kubelet = Kubelet::of(&home)
        .also(&live)
        .image("celeriac/operator", Image::ours("celeriac-operator"))
        .image("celeriac/aggregator", Image::ours("celeriac-aggregator"))
        .image("celeriac/inspector", Image::ours("celeriac-inspector"))
        .image("example/demo", Image::celery("5.7"))
        .start()
        .await;
    let readers = format!(
        "--set-json=access.reader.subjects={}",
        subject("developers")
    );
    let controllers = format!(
        "--set-json=access.controller.subjects={}",
        subject("on-call")
    );
    let chart = chart("celeriac");
    let words = ["install", "celeriac", &chart, &readers, &controllers];
    let installed = helm(&home, &[&words[..], &["--wait", "--timeout=4m"]].concat());
    if let Err(error) = installed {
        let pods = home.kubectl(&["get", "pods", "-o", "wide"]);
        let log = kubelet.log("celeriac-aggregator-0", "aggregator");
        panic!("{error}\n{pods}\n{log}");
    }

    let redis = Redis::builder().listen(kubelet.host()).start();
    let address = (kubelet.host(), redis.address().port()).into();
    live.apply(&app(&redis.url_of(address, 0)));
    let proxy = forwarded(&home);
    let developer = Person::of("developers", &proxy).await;
    let worker = eventually("a developer sees the worker", SOON, async || {
        let seen = developer.celery(&home, &["workers", "-o", "json"]);
        let seen = seen.map_err(|(_, error)| error)?;
        let seen: Value = serde_json::from_str(&seen).map_err(|error| error.to_string())?;
        let worker = &seen["workers"][0];
        assert!(worker["app"].is_null() || worker["app"] == format!("{}/shop", live.name()));
        match worker["name"].as_str() {
            Some(name) if worker["inspection"]["queuesKnown"] == true => Ok(name.to_owned()),
            _ => Err(format!("{seen}\n{}", live.kubectl(&["get", "pods"]))),
        }
    })
    .await;
    let pod = worker
        .strip_prefix("celery@")
        .expect("it is named for its pod");
    get(&live, &format!("pod/{pod}")).expect("it is the pool's pod");

    observed(&live).await;
    let celery = Celery::new("5.7", &redis.url());
    guarded(&live, pod, &celery).await;
    finishes_before_it_goes(&live, pod, &celery).await;
    let worker = current(&live).await;
    let pod = worker.strip_prefix("celery@").expect("it is named so");
    may_look_only(&home, &developer);
    let on_call = Person::of("on-call", &proxy).await;
    controls(&home, &on_call, &worker, pod);
    drained_by_the_operator(&live).await;
    helm(&home, &["uninstall", "celeriac", "--wait", "--timeout=3m"]).expect("it goes");
}

/// Who is on call asks workers, has one take no more, and has it go on.
fn controls(home: &Namespace, on_call: &Person, worker: &str, pod: &str) {
    let pong = on_call.celery(home, &["control", "ping"]);
    assert!(
        pong.as_ref().is_ok_and(|said| said.contains(worker)),
        "{pong:?}"
    );
    let drained = on_call.celery(home, &["drain", pod, "--timeout", "60"]);
    assert!(
        drained
            .as_ref()
            .is_ok_and(|said| said.contains(&format!("{worker} is idle"))),
        "{drained:?}"
    );
    let add = [
        "control",
        "add-consumer",
        "celery",
        "--worker",
        worker,
        "--yes",
    ];
    let added = on_call.celery(home, &add);
    assert!(added.is_ok(), "{added:?}");
}

/// It may tell workers to take no more tasks, and is told how much they have though it may not read what.
async fn drained_by_the_operator(live: &Namespace) {
    let none = r#"[{"op": "replace", "path": "/spec/workers/0/replicas", "value": 0}]"#;
    live.kubectl(&["patch", "celery", "shop", "--type=json", "-p", none]);
    eventually("the last worker has gone, drained", SOON, async || {
        let deployment = get(live, "deployment/shop-default")?;
        let events = live.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
        if deployment["spec"]["replicas"] == 0 && events.contains("\"Drained\"") {
            Ok(())
        } else {
            Err(get(live, "celeryworker/shop-default")?.to_string())
        }
    })
    .await;
}

/// The sidecar is told of its worker by the aggregator, and the pod became ready by what it says.
async fn guarded(live: &Namespace, pod: &str, celery: &Celery) {
    let found = get(live, &format!("pod/{pod}")).expect("it runs");
    let address = found["status"]["podIP"].as_str().expect("it runs");
    let address: Ipv4Addr = address.parse().expect("an address");
    let address = SocketAddr::from((address, 9810));
    eventually("the aggregator tells of the worker", SOON, async || {
        let (_, text) = http_get(address, "/metrics").map_err(|error| error.to_string())?;
        let followed = text
            .lines()
            .any(|line| line == "celeriac_sidecar_followed 1");
        if followed { Ok(()) } else { Err(text) }
    })
    .await;
    for page in ["/livez", "/readyz"] {
        assert_eq!(
            http_get(address, page).expect("it answers").0,
            200,
            "{page}"
        );
    }
    // Nobody drains a worker who was not given the pool's token.
    assert_eq!(http_get(address, "/drain").expect("it answers").0, 401);
    assert_eq!(
        celery
            .run("print(app.send_task('demo.add', args=[2, 3]).get(timeout=60))")
            .trim(),
        "5"
    );
}

/// A pod that is deleted while its worker runs a task, and has others, is gone once they are done and not before.
async fn finishes_before_it_goes(live: &Namespace, pod: &str, celery: &Celery) {
    let sent = celery.run("print(*[app.send_task('demo.nap', args=[4]).id for n in range(3)])");
    let ids: Vec<&str> = sent.split_whitespace().collect();
    eventually("the first runs", SOON, async || {
        let said = celery.run("print(app.control.inspect(timeout=5).active())");
        if said.contains(ids[0]) {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    live.kubectl(&["delete", "pod", pod, "--wait=false"]);
    eventually("it is gone", SOON, async || {
        let left = live.try_kubectl(&["get", "pod", pod]);
        if left.is_err() {
            Ok(())
        } else {
            left.map(drop).and(Err("it is there".to_owned()))
        }
    })
    .await;
    for id in ids {
        let done = format!("print(app.AsyncResult('{id}').get(timeout=60))");
        assert_eq!(celery.run(&done).trim(), "4", "{id}");
    }
}

/// The worker of the pod that came in its place.
async fn current(live: &Namespace) -> String {
    eventually("there is a ready one", SOON, async || {
        let words = [
            "get",
            "pods",
            "-l",
            "celeriac.dev/worker=shop-default",
            "-o",
            "json",
        ];
        let pods = live.try_kubectl(&words)?;
        let pods: Value = serde_json::from_str(&pods).map_err(|error| error.to_string())?;
        let ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        let found = pods["items"]
            .as_array()
            .and_then(|all| all.iter().find(ready));
        match found.and_then(|pod| pod["metadata"]["name"].as_str()) {
            Some(name) => Ok(format!("celery@{name}")),
            None => Err(pods.to_string()),
        }
    })
    .await
}

/// The operator itself is let in too, by the token of its own account.
async fn observed(live: &Namespace) {
    eventually("the operator shows live numbers", SOON, async || {
        let celery = get(live, "celery/shop")?;
        let conditions = celery["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let observed = conditions.find(|one| one["type"] == "Observed");
        match observed {
            Some(one) if one["status"] == "True" && celery["status"]["busy"].is_string() => Ok(()),
            _ => Err(celery["status"].to_string()),
        }
    })
    .await;
}

/// A developer has no more than was given: no control, no Secret, no token of another account.
fn may_look_only(home: &Namespace, developer: &Person) {
    let (status, error) = developer
        .celery(home, &["control", "ping"])
        .expect_err("a developer does not control");
    assert_eq!(status, Some(1), "{error}");
    assert!(
        error.contains("celeriac-controller") && error.contains("forbidden"),
        "{error}"
    );
    let (_, error) = developer
        .celery(home, &["--account", "celeriac-reader", "control", "ping"])
        .expect_err("a reader's token does not control");
    assert!(error.to_lowercase().contains("right"), "{error}");
    let forward = [
        "create",
        "pods/celeriac-aggregator-0",
        "--subresource=portforward",
    ];
    assert!(developer.may(home, &forward));
    for denied in [
        &["get", "secrets"][..],
        &[
            "create",
            "pods/celeriac-operator-0",
            "--subresource=portforward",
        ],
        &[
            "create",
            "serviceaccounts/celeriac-operator",
            "--subresource=token",
        ],
        &["get", "celeries"],
    ] {
        assert!(!developer.may(home, denied), "{denied:?}");
    }
}
