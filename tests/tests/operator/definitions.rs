//! What the API server refuses by itself, and the words in which it does; defaults; `/scale`; what `kubectl explain` says.

mod refused;

use celeriac_tests::operator::plane;
use serde_json::{Value, json};

use refused::{FROZEN, IN_AN_APP, LOWERED, MOVED, NATIVE, QUEUES, REFUSALS, Refusal};

/// A valid object of a kind.
fn valid(kind: &str) -> Value {
    let spec = match kind {
        "Celery" => json!({
            "image": "example/shop:1", "appName": "shop",
            "workers": [{"name": "default"}], "schedulers": [{"name": "beat"}],
        }),
        "CeleryBroker" => json!({"type": "external", "brokerAddress": "redis://redis:6379/0"}),
        "CeleryWorker" | "CeleryScheduler" => json!({
            "image": "example/shop:1", "appName": "shop", "broker": {"address": "redis://redis:6379/0"},
        }),
        other => panic!("no kind of ours: {other}"),
    };
    json!({
        "apiVersion": "celeriac.dev/v1alpha1", "kind": kind, "metadata": {"name": "shop"}, "spec": spec,
    })
}

fn set(object: &mut Value, path: &str, value: &str) {
    let value: Value = serde_json::from_str(value).expect("the example is JSON");
    let (parent, name) = path.rsplit_once('/').expect("a path has a slash");
    let parent = object.pointer_mut(parent).expect("the parent is there");
    let fields = parent.as_object_mut().expect("the parent is an object");
    if value.is_null() {
        fields.remove(name);
    } else {
        fields.insert(name.to_owned(), value);
    }
}

#[tokio::test]
async fn every_rule_refuses_its_example_in_words_for_people() {
    let namespace = plane().await.namespace("rules").await;
    for kind in ["Celery", "CeleryBroker", "CeleryWorker", "CeleryScheduler"] {
        namespace.apply(&valid(kind).to_string());
    }
    let mut native = valid("CeleryWorker");
    for (path, value) in [("/spec/scaling", NATIVE), QUEUES, IN_AN_APP] {
        set(&mut native, path, value);
    }
    namespace.apply(&native.to_string());
    for Refusal {
        kind,
        change,
        words,
    } in REFUSALS
    {
        let mut object = valid(kind);
        object["metadata"]["name"] = json!("refused");
        for (path, value) in *change {
            set(&mut object, path, value);
        }
        let refused = namespace.try_apply(&object.to_string());
        let error = refused.expect_err(words);
        assert!(error.contains(words), "expected {words:?} in {error}");
    }
    for (kind, path, value, words) in FROZEN {
        let mut object = valid(kind);
        set(&mut object, path, value);
        let error = namespace.try_apply(&object.to_string()).expect_err(words);
        assert!(error.contains(words), "expected {words:?} in {error}");
    }
}

#[tokio::test]
async fn a_rabbitmq_keeps_its_servers_and_who_runs_them() {
    let namespace = plane().await.namespace("servers").await;
    // Operators of other tests look after all namespaces: none is to decide who runs this one.
    let metadata = json!({"name": "mq", "annotations": {"celeriac.dev/paused": "true"}});
    let broker = |replicas: i32| {
        json!({
            "apiVersion": "celeriac.dev/v1alpha1", "kind": "CeleryBroker", "metadata": metadata,
            "spec": {"type": "rabbitmq", "replicas": replicas},
        })
        .to_string()
    };
    namespace.apply(&broker(1));
    namespace.apply(&broker(3));
    let error = namespace.try_apply(&broker(1)).expect_err(LOWERED);
    assert!(error.contains(LOWERED), "{error}");
    let run_by = |variant: &str| {
        let status = json!({"status": {"variant": variant}}).to_string();
        let patch = [
            "patch",
            "celerybroker",
            "mq",
            "--subresource=status",
            "--type=merge",
            "-p",
        ];
        namespace.try_kubectl(&[&patch[..], &[&status]].concat())
    };
    run_by("RabbitmqCluster").expect("nobody runs it yet");
    let error = run_by("StatefulSet").expect_err(MOVED);
    assert!(error.contains(MOVED), "{error}");
}

/// A rule without an example would go unnoticed when it never fires.
#[test]
fn every_rule_has_an_example() {
    let told: Vec<&str> = REFUSALS
        .iter()
        .map(|refusal| refusal.words)
        .chain(FROZEN.iter().map(|(.., words)| *words))
        .chain([LOWERED, MOVED])
        .collect();
    let folder = celeriac_tests::paths::root().join("deploy/crds");
    for file in std::fs::read_dir(folder).expect("deploy/crds is there") {
        let text = std::fs::read_to_string(file.expect("it is readable").path()).expect("text");
        let definition: Value = serde_saphyr::from_str(&text).expect("YAML");
        let mut messages = Vec::new();
        messages_of(&definition, &mut messages);
        assert!(!messages.is_empty());
        for message in messages {
            assert!(
                told.iter().any(|words| message.contains(words)),
                "no example is refused with {message:?}"
            );
        }
    }
}

fn messages_of(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let message = rule["message"].as_str().expect("every rule has a message");
                messages.push(message.to_owned());
            }
            fields
                .values()
                .for_each(|value| messages_of(value, messages));
        }
        Value::Array(items) => items.iter().for_each(|value| messages_of(value, messages)),
        _ => {}
    }
}

#[tokio::test]
async fn what_is_left_out_has_its_default_and_scale_works() {
    let namespace = plane().await.namespace("defaults").await;
    namespace.apply(&valid("Celery").to_string());
    namespace.apply(&valid("CeleryWorker").to_string());
    let get = |kind: &str| -> Value {
        let text = namespace.kubectl(&["get", kind, "shop", "-o", "json"]);
        serde_json::from_str(&text).expect("JSON was asked for")
    };
    let celery = get("cel");
    assert_eq!(celery["spec"]["broker"]["type"], "redis");
    assert_eq!(celery["spec"]["broker"]["storage"]["retain"], true);
    assert_eq!(celery["spec"]["workers"][0]["optimization"], "fair");
    assert_eq!(celery["spec"]["workers"][0]["scaling"]["mode"], "fixed");
    assert_eq!(celery["spec"]["inspector"]["enabled"], true);
    assert_eq!(get("celw")["spec"]["replicas"], 1);

    namespace.kubectl(&["scale", "celeryworker", "shop", "--replicas=3"]);
    assert_eq!(get("celw")["spec"]["replicas"], 3);
}

#[tokio::test]
async fn columns_and_descriptions_are_there_for_people() {
    let namespace = plane().await.namespace("columns").await;
    namespace.apply(&valid("Celery").to_string());
    let header = |arguments: &[&str]| -> Vec<String> {
        let table = namespace.kubectl(arguments);
        let first = table.lines().next().unwrap_or_default();
        first.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(
        header(&["get", "celery"]),
        [
            "NAME", "BROKER", "READY", "WORKERS", "BUSY", "BACKLOG", "OLDEST", "FAILED", "AGE"
        ]
    );
    assert_eq!(
        header(&["get", "celery", "-o", "wide"])[8..],
        [
            "ONLINE", "UNACKED", "VERSIONS", "OBSERVED", "APP", "IMAGE", "REASON", "MESSAGE", "AGE"
        ]
    );
    let explained = namespace.kubectl(&["explain", "celeryworkers.spec.optimization"]);
    assert!(
        explained.contains("How a prefork worker hands tasks to its processes"),
        "{explained}"
    );
}
