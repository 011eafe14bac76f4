//! The sample of the README from beginning to end, with real pods: it becomes a working app, shows what it does, is changed
//! under way without a task noticing, and goes without leaving anything.

use std::collections::BTreeSet;

use celeriac_tests::kube::{Namespace, SOON, condition};
use celeriac_tests::kubelet::{Image, Kubelet};
use celeriac_tests::operator::{broker_url, plane, sample};
use celeriac_tests::redis::free_address;
use celeriac_tests::{Aggregator, Celery, eventually, turn};
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::operator;

#[tokio::test]
async fn twenty_lines_run_tasks_show_them_roll_without_a_loss_and_leave_nothing() {
    let _turn = turn().await;
    let plane = plane().await;
    let namespace = plane.namespace("sample").await;
    let _kubelet = Kubelet::of(&namespace)
        .image("example/shop", Image::celery("5.7"))
        .image("valkey/valkey", Image::system(&[]))
        .image("celeriac/inspector", Image::ours("celeriac-inspector"))
        .start()
        .await;
    let address = free_address();
    let _operator = operator(plane, &namespace, &format!("http://{address}")).await;

    namespace.apply(&sample());
    namespace
        .once("celery", "shop", "it is ready", |celery| {
            condition(celery, "Ready")["status"] == "True"
        })
        .await;
    // The aggregator listens on loopback, which pods do not share: an inspector of its own looks at the broker.
    let broker = broker_url(&namespace, "shop");
    let data = TempDir::new().expect("the temporary folder is writable");
    let app = format!("{}/shop={broker}", namespace.name());
    let _aggregator = Aggregator::builder()
        .broker(&app)
        .launch(address, data.path());
    let celery = Celery::new("5.7", &broker);
    shows_what_it_does(&namespace, &celery).await;
    rolls_without_a_loss(&namespace, &celery).await;
    leaves_nothing(&namespace).await;
}

/// Three tasks run for a while: all columns say so.
async fn shows_what_it_does(namespace: &Namespace, celery: &Celery) {
    let is_busy = |busy: &'static str| {
        move |object: &Value| {
            condition(object, "Observed")["status"] == "True" && object["status"]["busy"] == busy
        }
    };
    // Two workers of two processes, one of eight threads.
    namespace
        .once("celery", "shop", "it is idle", is_busy("0/12"))
        .await;
    // For longer than two turns of the status, which is written anew after half a minute, take on a slow machine.
    celery.run("[nap.delay(90) for _ in range(3)]\nfail.delay()");
    let shop = namespace
        .once("celery", "shop", "three run", |object| {
            let status = &object["status"];
            is_busy("3/12")(object) && status["failed"] == 1 && status["backlog"] == 0
        })
        .await;
    namespace
        .once(
            "celeryworker",
            "shop-default",
            "they run there",
            is_busy("3/4"),
        )
        .await;
    namespace
        .once("celeryworker", "shop-mail", "and not there", is_busy("0/8"))
        .await;
    assert_eq!(shop["status"]["online"], 3);
    let shown = namespace.row("celery", "shop");
    assert_eq!(shown[..6], ["shop", "redis", "True", "3/3", "3/12", "0"]);
    let broker = namespace
        .get("celerybroker", "shop-broker")
        .expect("it is there");
    assert_eq!(condition(&broker, "Reachable")["status"], "True");
    for wide in [&[][..], &["-o", "wide"]] {
        let command = [&["get", "celery,celeryworkers,celerybrokers"], wide].concat();
        println!("{}", namespace.kubectl(&command));
    }
    println!("{}", namespace.kubectl(&["describe", "celery", "shop"]));
}

/// While tasks of a tenth of a second to ten seconds run, every worker of the pool is replaced: each task is started once
/// and returns once.
async fn rolls_without_a_loss(namespace: &Namespace, celery: &Celery) {
    let before = workers(namespace);
    assert_eq!(before.len(), 2, "{before:?}");
    let send =
        "times = [0.1, 0.3, 1, 2, 5, 10] * 12\nprint('\\n'.join(nap.delay(t).id for t in times))";
    let sent = celery.run(send);
    let sent: BTreeSet<&str> = sent.split_whitespace().collect();
    assert_eq!(sent.len(), 72);
    let edited = sample().replace(
        "    replicas: 2\n",
        "    replicas: 2\n    env: [{name: MODE, value: new}]\n",
    );
    assert_ne!(edited, sample());
    namespace.apply(&edited);
    eventually("both workers are replaced", SOON * 2, async || {
        let now = workers(namespace);
        if now.len() == 2 && now.is_disjoint(&before) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    eventually("all have returned", SOON * 2, async || {
        let returned = celery.counted("return");
        let left = sent
            .iter()
            .filter(|id| !returned.contains_key(**id))
            .count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    let (started, returned) = (celery.counted("start"), celery.counted("return"));
    for id in &sent {
        assert_eq!((started[*id], returned[*id]), (1, 1), "{id}");
    }
    namespace
        .once("celery", "shop", "it is idle again", |object| {
            object["status"]["busy"] == "0/12" && object["status"]["backlog"] == 0
        })
        .await;
}

/// Pods of the pool `default` that are not on their way out.
fn workers(namespace: &Namespace) -> BTreeSet<String> {
    let selector = "celeriac.dev/worker=shop-default";
    let text = namespace.kubectl(&["get", "pods", "-l", selector, "-o", "json"]);
    let pods: Value = serde_json::from_str(&text).expect("JSON was asked for");
    let pods = pods["items"].as_array().expect("it is a list").iter();
    pods.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// What is deleted goes with all that it owns; what is to be kept stays, and what is not ours.
async fn leaves_nothing(namespace: &Namespace) {
    namespace.kubectl(&["create", "configmap", "theirs"]);
    namespace.kubectl(&["delete", "celery", "shop", "--timeout=120s"]);
    let kinds = "celeries,celeryworkers,celeryschedulers,celerybrokers,deployments,replicasets,statefulsets,pods,\
                 poddisruptionbudgets,services,endpointslices";
    eventually("nothing is left", SOON, async || {
        let left = namespace.kubectl(&["get", kinds, "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let kept = namespace.kubectl(&[
        "get",
        "secrets,persistentvolumeclaims,configmaps",
        "-o",
        "name",
    ]);
    let kept: BTreeSet<&str> = kept.lines().collect();
    for name in ["secret/shop-broker-auth", "configmap/theirs"] {
        assert!(kept.contains(name), "{name} in {kept:?}");
    }
}
