//! What the API server refuses by itself, and the words in which it does; defaults; `/scale`; what `kubectl explain` says.

use celeriac_tests::operator::plane;
use serde_json::{Value, json};

/// A manifest, a change of it, and the words that refuse it.
struct Refusal {
    kind: &'static str,
    /// Path into the object, and what is there instead.
    change: &'static [(&'static str, &'static str)],
    words: &'static str,
}

const fn refusal(
    kind: &'static str,
    change: &'static [(&'static str, &'static str)],
    words: &'static str,
) -> Refusal {
    Refusal {
        kind,
        change,
        words,
    }
}

const NATIVE: &str = r#"{"mode": "native", "max": 2}"#;
const QUEUES: (&str, &str) = ("/spec/targetQueues", r#"["mail"]"#);
const IN_AN_APP: (&str, &str) = ("/spec/celeryRef", r#"{"name": "shop"}"#);
const FOR_NATIVE: &str =
    "min, max, targetLatencySeconds, paused and dryRun are for scaling.mode native";

/// Every rule of the definitions, with an example that breaks it.
const REFUSALS: &[Refusal] = &[
    refusal(
        "Celery",
        &[(
            "/metadata/name",
            r#""a-name-that-is-much-too-long-for-any-app-1""#,
        )],
        "the name must have at most 40 characters: names of pods are made of it",
    ),
    refusal(
        "Celery",
        &[
            (
                "/metadata/name",
                r#""a-name-that-is-long-enough-for-an-app""#,
            ),
            ("/spec/schedulers/0/name", r#""nightly-reports""#),
        ],
        "the names of app and scheduler together must have at most 49 characters",
    ),
    refusal(
        "Celery",
        &[("/spec/image", "null")],
        "image is missing: name the image that holds the app, for all or for each worker and scheduler",
    ),
    refusal(
        "Celery",
        &[("/spec/appName", "null")],
        "appName is missing: name the app as celery -A takes it, for all or for each worker and scheduler",
    ),
    refusal(
        "Celery",
        &[("/spec/workers/0/name", r#""inspector""#)],
        "inspector is the name of the app's inspector",
    ),
    refusal(
        "Celery",
        &[("/spec/schedulers/0/name", r#""broker""#)],
        "broker is the name of the app's broker",
    ),
    refusal(
        "Celery",
        &[(
            "/spec/inspector",
            r#"{"env": [{"name": "CELERIAC_INSPECTOR_APP", "value": "x"}]}"#,
        )],
        "the inspector's broker, app, aggregator, address and events are set by the operator",
    ),
    refusal(
        "CeleryBroker",
        &[(
            "/metadata/name",
            r#""a-name-that-is-really-much-too-long-for-a-broker-that""#,
        )],
        "the name must have at most 50 characters: names of pods are made of it",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", "null")],
        "a broker of type external needs either brokerAddress or secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/type", r#""redis""#)],
        "brokerAddress and secretKeyRef are for type external: the operator makes those of a broker it runs",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", r#""redis://:hunter2@redis:6379/0""#)],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[(
            "/spec/brokerAddress",
            r#""sentinel://one:26379;sentinel://:hunter2@two:26379""#,
        )],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", r#""redis://:hun/ter2@redis:6379/0""#)],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[(
            "/spec/brokerAddress",
            r#""redis://redis:6379/0?password=hunter2""#,
        )],
        "brokerAddress holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryBroker",
        &[("/spec/brokerAddress", r#""sqs://""#)],
        "brokerAddress must begin with redis://, rediss://",
    ),
    refusal(
        "CeleryWorker",
        &[(
            "/metadata/name",
            r#""a-name-that-is-really-much-too-long-for-a-label-of-the-pods-of-a-pool""#,
        )],
        "the name must have at most 63 characters: it is a label of its pods",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/image", "null")],
        "image is missing: name the image",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/appName", "null")],
        "appName is missing: name the app",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/broker", "{}")],
        "give either address or secretKeyRef",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/broker/address", r#""amqp://guest:guest@rabbit//""#)],
        "address holds a user or a password: put the URL into a Secret and name it in secretKeyRef",
    ),
    refusal(
        "CeleryWorker",
        &[(
            "/spec/env",
            r#"[{"name": "CELERY_BROKER_URL", "value": "redis://x"}]"#,
        )],
        "CELERY_BROKER_URL, CELERY_RESULT_BACKEND and POD_NAME are set by the operator: use broker and resultBackend",
    ),
    refusal(
        "CeleryWorker",
        &[(
            "/spec/sidecar",
            r#"{"env": [{"name": "CELERIAC_INSPECTOR_DRAIN_TOKEN_FILE", "value": "x"}]}"#,
        )],
        "the sidecar's broker, app, aggregator, address, worker and drain are set by the operator",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/softTimeLimit", "60"), ("/spec/timeLimit", "60")],
        "softTimeLimit must be shorter than timeLimit: a task gets the time between to clean up",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/softTimeLimit", "60"), ("/spec/pool", r#""gevent""#)],
        "softTimeLimit works in the prefork pool only",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/timeLimit", "60"), ("/spec/pool", r#""threads""#)],
        "timeLimit works in the prefork and gevent pools only",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/maxTasksPerChild", "60"),
            ("/spec/pool", r#""threads""#),
        ],
        "maxTasksPerChild and maxMemoryPerChild work in the prefork pool only: no other has child processes",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/concurrency", "2"), ("/spec/pool", r#""solo""#)],
        "a solo worker runs one task at a time: leave concurrency out",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/disablePrefetch", "true"),
            ("/spec/prefetchMultiplier", "1"),
        ],
        "prefetchMultiplier has no effect with disablePrefetch",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/scaling", r#"{"mode": "native"}"#),
            IN_AN_APP,
            QUEUES,
        ],
        "scaling.max is missing: native scaling has to know how many workers there may be",
    ),
    refusal(
        "CeleryWorker",
        &[
            ("/spec/scaling", r#"{"mode": "native", "min": 3, "max": 2}"#),
            IN_AN_APP,
            QUEUES,
        ],
        "scaling.min must not be above scaling.max",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", NATIVE), IN_AN_APP],
        "targetQueues is missing: native scaling goes by the load of the queues that it names",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", NATIVE), QUEUES],
        "celeryRef is missing: native scaling goes by what is known of its app",
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"mode": "external", "max": 2}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"min": 0}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"targetLatencySeconds": 9}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"paused": true}"#)],
        FOR_NATIVE,
    ),
    refusal(
        "CeleryWorker",
        &[("/spec/scaling", r#"{"dryRun": true}"#)],
        FOR_NATIVE,
    ),
    // In an app as in a pool.
    refusal(
        "Celery",
        &[("/spec/workers/0/scaling", r#"{"mode": "native"}"#)],
        "scaling.max is missing: native scaling has to know how many workers there may be",
    ),
    refusal(
        "Celery",
        &[("/spec/workers/0/scaling", NATIVE)],
        "targetQueues is missing: native scaling goes by the load of the queues that it names",
    ),
    refusal(
        "CeleryScheduler",
        &[(
            "/metadata/name",
            r#""a-name-that-is-really-much-too-long-for-any-scheduler""#,
        )],
        "the name must have at most 50 characters: names of pods are made of it",
    ),
    refusal(
        "CeleryScheduler",
        &[("/spec/image", "null")],
        "image is missing: name the image",
    ),
    refusal(
        "CeleryScheduler",
        &[("/spec/appName", "null")],
        "appName is missing: name the app",
    ),
    // D13: more than one beat cannot be asked for.
    refusal(
        "CeleryScheduler",
        &[("/spec/replicas", "2")],
        r#"unknown field "spec.replicas""#,
    ),
];

/// What rules about changes refuse: kind, path, what is there instead, words.
const FROZEN: &[(&str, &str, &str, &str)] = &[
    (
        "CeleryBroker",
        "/spec",
        r#"{"type": "redis"}"#,
        "the type of a broker cannot be changed: its queues would be left behind",
    ),
    (
        "CeleryBroker",
        "/spec/storage",
        r#"{"size": "9Gi"}"#,
        "the size of a volume is changed at its PersistentVolumeClaim",
    ),
    (
        "CeleryBroker",
        "/spec/storage",
        r#"{"storageClassName": "slow"}"#,
        "the StorageClass of a volume cannot be changed",
    ),
    (
        "CeleryScheduler",
        "/spec/storage",
        r#"{"size": "9Gi"}"#,
        "the volume of a schedule cannot be changed: delete the scheduler and make it again",
    ),
];

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

/// A rule without an example would go unnoticed when it never fires.
#[test]
fn every_rule_has_an_example() {
    let told: Vec<&str> = REFUSALS
        .iter()
        .map(|refusal| refusal.words)
        .chain(FROZEN.iter().map(|(.., words)| *words))
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
