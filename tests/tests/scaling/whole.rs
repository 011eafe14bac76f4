//! The whole of it: a pool from zero, with bursts of long and short tasks, a rollout and a new operator under way, and back to
//! zero. Every task is started once and returns once, by a log that the tasks write themselves; who goes while others are busy is
//! idle.

use std::path::Path;

use celeriac_proto::v1::{Worker, WorkerStatus};
use celeriac_tests::kube::{ControlPlane, Namespace, SOON};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::plane;
use celeriac_tests::{Aggregator, Celery, Operator, RabbitMq, Redis, eventually, turn};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::scene::{asked, because, operator};
use crate::truth::{Truth, victims};

/// One burst: seconds that tasks take, and how many of each there are.
const BURST: &str = "[0.1] * 95 + [0.5] * 30 + [1] * 20 + [3] * 10 + [8] * 6 + [15] * 5 + [30]";
const BURST_TASKS: usize = 167;

/// What a task takes that is still there when all others are done, in seconds: longer than they, and than an operator waits with
/// a lowering, which is a minute after load has jumped, and its window.
const LASTS: u32 = 120;

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

/// On a broker that pods reach by one URL and this machine by another.
async fn up_and_down(
    plane: &'static ControlPlane,
    namespace: &Namespace,
    inside: &str,
    outside: &str,
) {
    let truth = Truth::new();
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

    let mark = operator.mark();
    load_comes_back(&mut operator, namespace, &celery, &truth, &mut sent).await;
    let pods = there(namespace);
    truth.returned(&sent, sent.len()).await;
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
    truth.each_once(&sent);
    let victims = victims(&operator.writes(mark, namespace));
    let (beside_busy, wrong) = truth.chosen(&victims, &pods);
    println!(
        "{} victims, {beside_busy} of them chosen while another worker was busy; busy while an idle one existed: {}",
        victims.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(beside_busy > 0, "nobody was busy when victims were chosen");
    let failed = aggregator.tasks("state = FAILURE").await;
    let failed = failed.expect("the aggregator answers");
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The operator is another in the middle of the load, which comes back when that leads: it takes nothing away for having no past.
/// Behind it comes one task that lasts, beside which the others' workers are idle.
async fn load_comes_back(
    operator: &mut Operator,
    namespace: &Namespace,
    celery: &Celery,
    truth: &Truth,
    sent: &mut Vec<String>,
) {
    let leader = || {
        let lease = namespace.get("lease", "celeriac-operator");
        lease.map(|lease| lease["spec"]["holderIdentity"].clone())
    };
    let before = leader().expect("somebody leads");
    let mark = operator.mark();
    operator.restart();
    eventually("another leads", SOON, async || match leader()? {
        now if now == before => Err(format!("{now} does")),
        _ => Ok(()),
    })
    .await;
    sent.extend(burst(celery));
    let lasts = celery.run(&format!(
        "print(nap.apply_async(({LASTS},), queue='mail').id)"
    ));
    sent.push(lasts.trim().to_owned());
    truth.returned(sent, sent.len() - BURST_TASKS / 2).await;
    shows(namespace, "a new operator, and the load is back");
    let fewer = asked(operator, namespace, mark, "shop-mail");
    assert!(fewer.iter().all(|&workers| workers >= 4), "{fewer:?}");
    let marked = victims(&operator.writes(mark, namespace));
    assert!(marked.is_empty(), "{} were to go", marked.len());
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

/// Waits until so many workers are heard: the rollout takes them at the beginning of their lives.
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

/// The pods of the pool that are not on their way out.
fn there(namespace: &Namespace) -> Vec<String> {
    let own = "celeriac.dev/worker=shop-mail";
    let pods = namespace.kubectl(&["get", "pods", "-l", own, "-o", "json"]);
    let pods: Value = serde_json::from_str(&pods).expect("JSON was asked for");
    let pods = pods["items"].as_array().into_iter().flatten();
    pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
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
