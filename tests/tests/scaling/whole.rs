//! The whole of it: a pool from zero, with bursts of long and short tasks, a rollout and a new operator under way, and back to
//! zero. Every task is started once and returns once, by a log that the tasks write themselves.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use celeriac_proto::v1::{Worker, WorkerStatus};
use celeriac_tests::kube::{ControlPlane, Namespace, SOON};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::{Aggregator, Celery, RabbitMq, Redis, eventually, turn};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::scene::{because, operator, plane};

/// One burst: seconds that tasks take, and how many of each there are.
const BURST: &str = "[0.1] * 80 + [0.5] * 30 + [1] * 20 + [3] * 10 + [8] * 6 + [15] * 4";
const BURST_TASKS: usize = 150;

/// The app, whose tasks write their log to a folder of this machine.
fn app(truth: &Path, mode: &str) -> String {
    let url = json!({"name": "broker", "key": "url"});
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": "Celery", "metadata": {"name": "shop"},
        "spec": {
            "image": "example/shop:1.0", "appName": "demo",
            "broker": {"type": "external", "secretKeyRef": url},
            "workers": [{
                "name": "mail", "targetQueues": ["mail"], "concurrency": 2, "prefetchMultiplier": 1,
                "scaling": {"mode": "native", "min": 0, "max": 4, "targetLatencySeconds": 10},
                "env": [
                    {"name": "DEMO_BROKER", "valueFrom": {"secretKeyRef": url}},
                    {"name": "DEMO_BACKEND", "value": "cache+memory://"},
                    {"name": "DEMO_LOG", "value": "/truth/log"}, {"name": "MODE", "value": mode},
                ],
                "podTemplate": {"spec": {
                    "volumes": [{"name": "truth", "hostPath": {"path": truth}}],
                    "containers": [{"name": "celery", "volumeMounts": [{"name": "truth", "mountPath": "/truth"}]}],
                }},
            }],
        },
    })
    .to_string()
}

async fn ground(name: &str) -> (&'static ControlPlane, Namespace, Kubelet) {
    let plane = plane().await;
    let namespace = plane.namespace(name).await;
    let kubelet = Kubelet::of(&namespace)
        .image("example/shop", Image::celery("5.7"))
        .image("celeriac/inspector", Image::ours("celeriac-inspector"))
        .start()
        .await;
    (plane, namespace, kubelet)
}

#[tokio::test]
#[ignore = "Celery runs a task twice whose worker is told to end just after it took it: pods have to be drained before they end"]
async fn on_redis_no_task_is_lost_interrupted_or_run_twice_from_zero_and_back() {
    let _turn = turn().await;
    let (plane, namespace, kubelet) = ground("redis").await;
    let redis = Redis::builder().listen(kubelet.host()).start();
    let address = (kubelet.host(), redis.address().port()).into();
    up_and_down(plane, &namespace, &redis.url_of(address, 0), &redis.url()).await;
}

#[tokio::test]
async fn on_rabbitmq_no_task_is_lost_interrupted_or_run_twice_from_zero_and_back() {
    let _turn = turn().await;
    let (plane, namespace, kubelet) = ground("rabbit").await;
    let host = RabbitMq::host();
    // The node listens on loopback, which pods do not share.
    let listener = TcpListener::bind((kubelet.host(), 0)).await;
    let listener = listener.expect("the bridge is ours");
    let address = listener.local_addr().expect("it is bound");
    let node = host.node().address();
    let forwarding = tokio::spawn(async move {
        while let Ok((mut inside, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut outside) = TcpStream::connect(node).await {
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                }
            });
        }
    });
    up_and_down(
        plane,
        &namespace,
        &host.url_of(address, "guest"),
        &host.url(),
    )
    .await;
    forwarding.abort();
}

/// A folder for what tasks write, whoever they run as.
pub(crate) fn truth() -> TempDir {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
    folder
}

/// On a broker that pods reach by one URL and this machine by another.
async fn up_and_down(
    plane: &'static ControlPlane,
    namespace: &Namespace,
    inside: &str,
    outside: &str,
) {
    let truth = truth();
    let name = format!("{}/shop", namespace.name());
    let aggregator = Aggregator::on(&format!("{name}={outside}")).await;
    let asks = format!("http://{}", aggregator.address());
    let mut operator = operator(plane, namespace, &asks, &["--scale-down-window", "15"]).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "broker"}, "stringData": {"url": inside},
    });
    namespace.apply(&secret.to_string());
    namespace.apply(&app(truth.path(), "old"));
    because(namespace, "shop-mail", "True", "NothingToDo").await;
    shows(namespace, "nothing to do");

    let celery = Celery::new("5.7", outside).env("DEMO_BACKEND", "cache+memory://");
    let mut sent = burst(&celery);
    listening(&aggregator, 4).await;
    namespace.apply(&app(truth.path(), "new"));
    sent.extend(burst(&celery));
    ready(namespace, 4).await;
    shows(namespace, "two bursts, and a rollout");
    let rolled = async || rolled(namespace);
    eventually("all pods are of the new template", SOON * 2, rolled).await;
    all_returned(truth.path(), &sent, sent.len()).await;
    // Before the way down: who leads then has to look on for a window of its own.
    operator.restart();
    namespace
        .once("deployment", "shop-mail", "it is at zero", |object| {
            object["spec"]["replicas"] == 0
        })
        .await;
    eventually("no pod is left", SOON, async || {
        let own = "celeriac.dev/worker=shop-mail";
        let left = namespace.kubectl(&["get", "pods", "-l", own, "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    shows(namespace, "back at zero");
    tells(namespace);
    each_once(truth.path(), &sent);
    let failed = aggregator.tasks("state = FAILURE").await;
    let failed = failed.expect("the aggregator answers");
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Sends a burst in an order of its own; the ids.
fn burst(celery: &Celery) -> Vec<String> {
    let sent = celery.run(&format!(
        "import random\ntimes = {BURST}\nrandom.Random(7).shuffle(times)\n\
         print('\\n'.join(nap.apply_async((time,), queue='mail').id for time in times))"
    ));
    let sent: Vec<String> = sent.split_whitespace().map(str::to_owned).collect();
    assert_eq!(sent.len(), BURST_TASKS);
    sent
}

/// Waits until so many workers are heard. One that is asked to end before Celery listens to signals does not hear it, since it
/// is process 1 of its container, and stays for its grace period: nothing is asked of one that starts.
async fn listening(aggregator: &Aggregator, wanted: usize) {
    eventually("workers are heard", SOON, async || {
        let workers = aggregator
            .workers()
            .await
            .map_err(|error| error.to_string())?;
        let online = |worker: &&Worker| worker.status() == WorkerStatus::Online;
        let online = workers.iter().filter(online).count();
        if online >= wanted {
            Ok(())
        } else {
            Err(format!("{online} of {wanted}"))
        }
    })
    .await;
}

async fn ready(namespace: &Namespace, workers: i64) {
    let what = format!("{workers} workers are ready");
    namespace
        .once("deployment", "shop-mail", &what, |object| {
            object["status"]["readyReplicas"].as_i64() >= Some(workers)
        })
        .await;
}

/// Every pod that is not on its way out has the new variable.
fn rolled(namespace: &Namespace) -> Result<(), String> {
    let deployment = namespace.get("deployment", "shop-mail")?;
    let status = &deployment["status"];
    let current = status["observedGeneration"] == deployment["metadata"]["generation"]
        && status["updatedReplicas"] == status["replicas"]
        && deployment["spec"]["template"].to_string().contains("new");
    if current {
        Ok(())
    } else {
        Err(status.to_string())
    }
}

/// What the tasks wrote: how often each did what.
fn log(truth: &Path) -> BTreeMap<String, BTreeMap<String, u32>> {
    let text = std::fs::read_to_string(truth.join("log")).unwrap_or_default();
    let mut found: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    // A last line may be in the writing.
    for line in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        *found
            .entry(text("id"))
            .or_default()
            .entry(text("what"))
            .or_default() += 1;
    }
    found
}

/// Waits until so many of those tasks have returned.
async fn all_returned(truth: &Path, sent: &[String], wanted: usize) {
    eventually(
        &format!("{wanted} tasks have returned"),
        SOON * 3,
        async || {
            let log = log(truth);
            let returned = sent
                .iter()
                .filter(|id| log.get(*id).is_some_and(|did| did.contains_key("return")));
            match returned.count() {
                enough if enough >= wanted => Ok(()),
                count => Err(format!("{count}")),
            }
        },
    )
    .await;
}

fn each_once(truth: &Path, sent: &[String]) {
    let log = log(truth);
    let once: BTreeMap<String, u32> = [("start".to_owned(), 1), ("return".to_owned(), 1)].into();
    let wrong: Vec<_> = sent
        .iter()
        .map(|id| (id, log.get(id)))
        .filter(|(_, did)| *did != Some(&once))
        .collect();
    assert!(
        wrong.is_empty(),
        "lost, interrupted or run twice: {wrong:?}"
    );
    assert_eq!(log.len(), sent.len());
    println!("{} tasks, each started once and returned once", sent.len());
}

fn shows(namespace: &Namespace, when: &str) {
    println!(
        "--- {when}\n{}",
        namespace.kubectl(&["get", "celery,celeryworkers", "-o", "wide"])
    );
}

/// What was decided, as Events tell it.
fn tells(namespace: &Namespace) {
    let events = namespace.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
    let events: Value = serde_json::from_str(&events).expect("JSON was asked for");
    let events = events["items"].as_array().into_iter().flatten();
    let mut told: Vec<String> = events
        .filter(|event| event["regarding"]["kind"] == "CeleryWorker")
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            format!("{} {}: {}", text("eventTime"), text("reason"), text("note"))
        })
        .collect();
    told.sort();
    println!("--- decisions\n{}", told.join("\n"));
}
