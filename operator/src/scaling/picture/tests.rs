use serde_json::{Value, json};

use super::*;
use crate::autoscale::victims;
use crate::drain::marks::{DRAIN, UNDONE};

fn pool(replicas: i32, scaling: &Value) -> CeleryWorker {
    let object = json!({
        "metadata": {"name": "shop-mail", "namespace": "live"},
        "spec": {
            "image": "x:1", "appName": "shop", "broker": {"address": "redis://redis/0"},
            "celeryRef": {"name": "shop"}, "targetQueues": ["mail"], "replicas": replicas,
            "concurrency": 4, "scaling": scaling,
        },
    });
    serde_json::from_value(object).expect("it is a CeleryWorker")
}

fn pod(name: &str, ready: bool, annotations: &Value) -> Pod {
    let ready = if ready { "True" } else { "False" };
    let object = json!({
        "metadata": {"name": name, "uid": name, "annotations": annotations},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    });
    Pod::read(&serde_json::from_value(object).expect("it is a pod"))
}

fn worker(pod: &str, slots: i64, active: i64) -> v1::WorkerDemand {
    v1::WorkerDemand {
        name: format!("celery@{pod}"),
        accepting: true,
        online: true,
        slots: Some(slots),
        active: Some(active),
        reserved: Some(1),
        scheduled: Some(2),
        queues: Some(v1::ConsumedQueues::default()),
        ..v1::WorkerDemand::default()
    }
}

fn fresh(slots: i64, workers: Vec<v1::WorkerDemand>) -> v1::Demand {
    v1::Demand {
        fresh: true,
        ready: 7,
        slots,
        workers,
        ..v1::Demand::default()
    }
}

fn picture(
    object: &CeleryWorker,
    deployed: Option<u32>,
    pods: &[Pod],
    told: Result<&v1::Demand, String>,
) -> Picture {
    let now = Now {
        moment: Duration::from_secs(1_000),
        wall: Timestamp::from_second(1_000_000).expect("a time"),
    };
    let known = Known {
        object,
        deployed,
        pods,
        slots: None,
        now,
    };
    Picture::new(&known, told)
}

#[test]
fn members_are_pods_that_stay_with_what_their_workers_have() {
    let mark = json!({"id": "1", "podUid": "b", "queues": [], "since": "1970-01-12T13:46:30Z"});
    let marked = json!({DRAIN: mark.to_string()});
    let pods = [
        pod("a", true, &json!({})),
        pod("b", true, &marked),
        pod("c", false, &json!({})),
        pod("d", true, &json!({UNDONE: "something"})),
        pod("e", true, &json!({DRAIN: "nonsense"})),
    ];
    let told = fresh(8, vec![worker("a", 4, 3), worker("b", 4, 1)]);
    let picture = picture(
        &pool(2, &json!({"mode": "native", "max": 9})),
        Some(5),
        &pods,
        Ok(&told),
    );
    let members = &picture.replicas.members;
    let known = Load {
        slots: 4,
        active: 3,
        reserved: 1,
        scheduled: 2,
        remainder: None,
    };
    assert_eq!(members[0].presence, Presence::Known(known));
    // Ten seconds ago.
    assert_eq!(members[1].draining, Some(Duration::from_secs(990)));
    assert_eq!(members[2].presence, Presence::Starting);
    assert_eq!(members[3].presence, Presence::Unknown);
    assert!(members[3].undone && !members[0].undone);
    // What is not understood is no reason to count on it.
    assert_eq!(members[4].draining, Some(Duration::from_secs(1_000)));
    // Two are asked for, and the Deployment is not there yet.
    assert_eq!(picture.replicas.current, 5);
}

#[test]
fn a_pod_on_its_way_out_is_none_and_one_that_was_ever_heard_of_is_not_starting() {
    let mut going = pod("a", true, &json!({}));
    going.terminating = true;
    let mut away = worker("b", 4, 0);
    away.online = false;
    let told = fresh(0, vec![worker("a", 4, 3), away]);
    let pods = [going, pod("b", false, &json!({}))];
    let picture = picture(
        &pool(3, &json!({"mode": "native", "max": 9})),
        None,
        &pods,
        Ok(&told),
    );
    assert_eq!(picture.replicas.members.len(), 1);
    assert_eq!(picture.replicas.members[0].presence, Presence::Unknown);
    assert_eq!(picture.replicas.current, 3);
}

#[test]
fn what_takes_nothing_is_no_capacity_and_what_has_not_answered_is_as_the_others() {
    let silent = v1::WorkerDemand {
        accepting: false,
        queues: Some(v1::ConsumedQueues::default()),
        ..worker("a", 4, 3)
    };
    let new = v1::WorkerDemand {
        accepting: false,
        queues: None,
        slots: None,
        ..worker("b", 4, 2)
    };
    let told = fresh(0, vec![silent, new]);
    let pods = [pod("a", true, &json!({})), pod("b", true, &json!({}))];
    let picture = picture(
        &pool(2, &json!({"mode": "native", "max": 9})),
        None,
        &pods,
        Ok(&told),
    );
    let load = |member: &Member| match member.presence {
        Presence::Known(load) => (load.slots, load.active, load.scheduled),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(load(&picture.replicas.members[0]), (0, 0, 2));
    assert_eq!(load(&picture.replicas.members[1]), (4, 2, 2));
}

#[test]
fn shared_queues_are_split_by_slots_and_at_zero_by_what_there_may_be() {
    let native = json!({"mode": "native", "max": 3});
    let others = fresh(20, vec![worker("a", 8, 0)]);
    let one = picture(
        &pool(1, &native),
        None,
        &[pod("a", true, &json!({}))],
        Ok(&others),
    );
    assert_eq!(one.policy.share, Share { own: 8, all: 20 });
    assert_eq!(one.policy.slots_per_replica.get(), 8);
    let none = picture(&pool(0, &native), None, &[], Ok(&fresh(12, Vec::new())));
    assert_eq!(none.policy.share, Share { own: 12, all: 24 });
    assert_eq!(none.policy.slots_per_replica.get(), 4);
}

#[test]
fn what_the_pool_says_is_the_policy_and_what_is_not_told_is_stale() {
    let mut object = pool(
        1,
        &json!({"mode": "native", "max": 3, "targetLatencySeconds": 5}),
    );
    let told = picture(
        &object,
        None,
        &[],
        Err("the aggregator is silent".to_owned()),
    );
    assert_eq!((told.policy.min, told.policy.max), (1, 3));
    assert_eq!(told.policy.target_latency, Duration::from_secs(5));
    assert!(!told.policy.paused && !told.policy.dry_run);
    let why = "the aggregator is silent".to_owned();
    assert_eq!(told.demand.freshness, Freshness::Stale { why });
    object
        .annotations_mut()
        .insert(PAUSED.to_owned(), "true".to_owned());
    object.spec.options.scaling.min = Some(0);
    let told = picture(&object, None, &[], Ok(&fresh(0, Vec::new())));
    assert!(told.policy.paused);
    assert_eq!((told.policy.min, told.demand.ready), (0, 7));
}

#[test]
fn workers_of_the_pool_are_asked_for_by_what_all_their_names_begin_with() {
    let native = json!({"mode": "native", "max": 3});
    let request_of = |name: &str| {
        let mut object = pool(1, &native);
        object.metadata.name = Some(name.to_owned());
        request("live", &object).expect("it has an app and a queue")
    };
    let asked = request_of("shop-mail");
    assert_eq!((asked.app.as_str(), asked.queues.len()), ("live/shop", 1));
    assert_eq!(asked.worker_prefix, "celery@shop-mail-");
    // Kubernetes cuts the names of its pods.
    assert_eq!(
        request_of(&"x".repeat(63)).worker_prefix.len(),
        "celery@".len() + 58
    );
    let mut alone = pool(1, &native);
    alone.spec.celery_ref = None;
    assert_eq!(request("live", &alone), None);
}

/// A thousand more than one message has room for: what is not told is never taken for nothing.
#[test]
fn of_ten_thousand_workers_each_is_known_and_one_left_out_never_goes() {
    let names: Vec<String> = (0..11_000).map(|n| format!("shop-mail-{n:05}")).collect();
    let pods: Vec<Pod> = names
        .iter()
        .map(|name| pod(name, true, &json!({})))
        .collect();
    let (told, left_out) = names.split_at(10_000);
    let told = v1::Demand {
        workers_left_out: 1_000,
        ..fresh(44_000, told.iter().map(|name| worker(name, 4, 3)).collect())
    };
    let native = json!({"mode": "native", "max": 12_000});
    let picture = picture(&pool(11_000, &native), Some(11_000), &pods, Ok(&told));
    assert_eq!(picture.policy.slots_per_replica.get(), 4);
    assert_eq!(picture.policy.share.all, 44_000, "sums are of all");
    let replicas = &picture.replicas;
    let unknown = |member: &&Member| member.presence == Presence::Unknown;
    let unknown: Vec<&Member> = replicas.members.iter().filter(unknown).collect();
    let unknown: Vec<&str> = unknown.iter().map(|member| &*member.name).collect();
    assert_eq!(unknown, left_out);
    let going = victims(replicas, 11_000);
    assert_eq!(going.len(), 10_000);
    assert!(going.iter().all(|name| !left_out.contains(name)));
}
