//! What the role grants against what is asked with it.

use std::collections::BTreeSet;

use celeriac_tests::eventually;
use celeriac_tests::kube::{Call, SOON, condition};
use celeriac_tests::operator::sample;
use serde_json::Value;

use crate::operator::{operator, run_pods};

/// A resource with its group, and a verb.
type Right = (String, String);

/// What has no call of its own: admission asks for it when an owner is named, or our aggregator does.
const ASKED_BY_OTHERS: [&str; 2] = ["/finalizers", "inspect.celeriac.dev/"];

/// What is brought about only by workers that answer (`tests/tests/drains`, `tests/tests/scaling`), where inspectors have
/// accounts of their own (`tests/tests/install`), or where RabbitMQ's own operator is (`tests/tests/operator/rabbitmq.rs`).
const ELSEWHERE: [(&str, &str); 9] = [
    ("/pods", "patch"),
    ("apps/replicasets", "list"),
    ("celeriac.dev/celeryworkers/scale", "patch"),
    ("/serviceaccounts", "get"),
    ("/serviceaccounts", "patch"),
    ("/serviceaccounts", "create"),
    ("rabbitmq.com/rabbitmqclusters", "get"),
    ("rabbitmq.com/rabbitmqclusters", "patch"),
    ("rabbitmq.com/rabbitmqclusters", "create"),
];

/// Every right of the shipped role is used, in one life of an app whose pool has and then has not what can be had.
#[tokio::test]
async fn every_right_of_the_role_is_used() {
    let (plane, operator) = operator().await;
    let namespace = plane.namespace("rights").await;
    let guarded = sample().replace(
        "  - name: mail\n",
        "  - name: mail\n    isolation: {enabled: true}\n",
    );
    namespace.apply(&guarded);
    namespace
        .once("networkpolicy", "shop-mail", "it is isolated", |_| true)
        .await;
    namespace
        .once("celery", "shop", "it is ready", |celery| {
            run_pods(&namespace);
            condition(celery, "Ready")["status"] == "True"
        })
        .await;
    let bare = "isolation: {enabled: false}\n    disruptionBudget: {enabled: false}";
    namespace.apply(&guarded.replace("isolation: {enabled: true}", bare));
    for kind in ["networkpolicy", "poddisruptionbudget"] {
        eventually("it is taken away", SOON, async || {
            match namespace.get(kind, "shop-mail") {
                Err(_) => Ok(()),
                Ok(_) => Err("it is there"),
            }
        })
        .await;
    }
    namespace.kubectl(&["scale", "celeryworker/shop-default", "--replicas=1"]);
    namespace.kubectl(&["delete", "celery", "shop", "--timeout=90s"]);
    let role =
        plane
            .administrator()
            .kubectl(&["get", "clusterrole", "celeriac-operator", "-o", "json"]);
    let granted = granted(&serde_json::from_str(&role).expect("kubectl writes JSON"));
    assert!(granted.len() > 30, "{granted:?}");
    eventually("every right was used", SOON, async || {
        let used: BTreeSet<Right> = plane
            .audit()
            .calls()
            .into_iter()
            .filter(|call| call.user == operator.user())
            .flat_map(used)
            .collect();
        let idle: Vec<&Right> = granted
            .difference(&used)
            .filter(|right| !elsewhere(right))
            .collect();
        if idle.is_empty() {
            Ok(())
        } else {
            Err(format!("never used: {idle:?}"))
        }
    })
    .await;
}

fn elsewhere((resource, verb): &Right) -> bool {
    ASKED_BY_OTHERS.iter().any(|part| resource.contains(part))
        || ELSEWHERE.contains(&(resource.as_str(), verb.as_str()))
}

fn granted(role: &Value) -> BTreeSet<Right> {
    let words = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    rights.insert((format!("{group}/{resource}"), verb));
                }
            }
        }
    }
    rights
}

/// The rights that a call needed. Server-side apply of what is not there needs `create` too, and is told by its answer.
fn used(call: Call) -> Vec<Right> {
    let resource = format!("{}/{}", call.group, call.resource);
    let made = call.verb == "patch" && call.code == 201;
    let mut rights = vec![(resource.clone(), call.verb)];
    if made {
        rights.push((resource, "create".to_owned()));
    }
    rights
}
