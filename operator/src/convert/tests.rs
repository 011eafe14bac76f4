//! What the ancestor's objects become. That the API server takes what comes out is tested in `tests/tests/operator/samples.rs`.

use serde_json::Value;

use super::convert;
use super::kinds::SCHEMES;

const INPUT: &str = include_str!("fixtures/ancestor.yaml");
const OUTPUT: &str = include_str!("fixtures/ours.yaml");

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("it is YAML")
}

fn spec(kind: &str, spec: &str) -> String {
    let indented = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: celery.celeryproject.org/v4\nkind: {kind}\nmetadata: {{name: shop}}\nspec:\n  {indented}\n"
    )
}

#[test]
fn every_kind_becomes_ours() {
    let conversion = convert(INPUT).expect("it can be converted");
    let wanted = documents(OUTPUT);
    assert_eq!(conversion.objects, wanted);
    let notes: Vec<String> = conversion.notes.iter().map(ToString::to_string).collect();
    let said: Vec<&str> = include_str!("fixtures/notes.txt").lines().collect();
    assert_eq!(notes, said);
}

#[test]
fn what_comes_out_is_what_our_types_read() {
    for object in convert(INPUT).expect("it can be converted").objects {
        let spec = object["spec"].clone();
        let read = match object["kind"].as_str() {
            Some("Celery") => serde_json::from_value::<crate::crd::CelerySpec>(spec).map(drop),
            Some("CeleryBroker") => {
                serde_json::from_value::<crate::crd::CeleryBrokerSpec>(spec).map(drop)
            }
            Some("CeleryWorker") => {
                serde_json::from_value::<crate::crd::CeleryWorkerSpec>(spec).map(drop)
            }
            Some("CeleryScheduler") => {
                serde_json::from_value::<crate::crd::CelerySchedulerSpec>(spec).map(drop)
            }
            _ => Ok(()),
        };
        read.unwrap_or_else(|error| panic!("{object}: {error}"));
    }
}

#[test]
fn what_cannot_be_is_named_with_its_value() {
    for (kind, text, words) in [
        (
            "Celery",
            "broker: {type: rabbitmq}",
            r#"Celery/shop: spec.broker.type: "rabbitmq" is neither redis nor external"#,
        ),
        (
            "Celery",
            "broker: {type: external}",
            "Celery/shop: spec.broker.brokerAddress is missing: an external broker is somewhere",
        ),
        (
            "Celery",
            "broker: {type: external, brokerAddress: 'sqs://queue'}",
            r#"spec.broker.brokerAddress: "sqs://queue" begins with none of redis://"#,
        ),
        (
            "Celery",
            "image: app:1\nworkers: [{replicas: two, appName: a}]",
            r#"spec.workers[0].replicas: "two" is no number from 0 to 10000"#,
        ),
        (
            "Celery",
            "image: app:1\nworkers: [{replicas: -1, appName: a}]",
            "spec.workers[0].replicas: -1 is no number",
        ),
        (
            "Celery",
            "workers: [{replicas: 1, appName: a}]",
            "spec.workers[0].image is missing",
        ),
        (
            "Celery",
            "image: app:1\nschedulers: [{replicas: 1}]",
            "spec.schedulers[0].appName is missing: celery needs to know the app (-A)",
        ),
        (
            "Celery",
            "image: app:1\nworkers: {}",
            "spec.workers: {} is no list",
        ),
        (
            "Celery",
            "image: [app]",
            r#"spec.image: ["app"] is no text"#,
        ),
        (
            "CeleryWorker",
            "image: app:1\nappName: a",
            "CeleryWorker/shop: spec.brokerAddress is missing",
        ),
        (
            "CeleryWorker",
            "image: app:1\nappName: my-app\nbrokerAddress: redis://r",
            r#"spec.appName: "my-app" is no name of a module"#,
        ),
        (
            "CeleryWorker",
            "image: app:1\nappName: a\nbrokerAddress: redis://r\ntargetQueues: [mail, 'a,b']",
            r#"spec.targetQueues[1]: "a,b" is no name of a queue"#,
        ),
        (
            "CeleryFlower",
            "image: app:1",
            r#"document 1: "CeleryFlower" is no kind of celery.celeryproject.org/v4"#,
        ),
    ] {
        let error = convert(&spec(kind, text)).expect_err(text).to_string();
        assert!(error.contains(words), "{words} is not in {error}");
    }
}

#[test]
fn a_password_is_moved_to_a_secret_and_never_in_an_error() {
    let text = "image: app:1\nappName: a\nreplicas: 1\nbrokerAddress: redis://:hunter2@r:6379/0";
    let conversion = convert(&spec("CeleryWorker", text)).expect("it can be converted");
    let [secret, worker] = conversion.objects.as_slice() else {
        panic!("{:?}", conversion.objects)
    };
    assert_eq!(secret["stringData"]["url"], "redis://:hunter2@r:6379/0");
    assert_eq!(
        worker["spec"]["broker"]["secretKeyRef"]["name"],
        "shop-broker-url"
    );
    assert!(!worker.to_string().contains("hunter2"));
    assert!(
        conversion
            .notes
            .iter()
            .all(|note| !note.text.contains("hunter2"))
    );

    let wrong = text.replace("redis://", "mongodb://user");
    let error = convert(&spec("CeleryWorker", &wrong)).expect_err("no such broker");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let broken = format!("{}  bad: [", spec("CeleryWorker", text));
    let error = convert(&broken).expect_err("no YAML");
    let told = format!(
        "{error} {:?}",
        std::error::Error::source(&error).map(ToString::to_string)
    );
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn urls_that_are_taken_are_those_of_the_definition() {
    let manifests = crate::crd::manifests().expect("they are made");
    let of_broker = |(file, _): &&(String, String)| file.starts_with("celerybrokers");
    let (_, broker) = manifests.iter().find(of_broker).expect("it is one of them");
    for scheme in SCHEMES {
        assert!(broker.contains(scheme), "{scheme}");
    }
}

#[test]
fn other_documents_go_through_as_they_are() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n";
    let conversion = convert(&format!("---\n{other}---\n")).expect("it can be converted");
    assert_eq!(conversion.objects, documents(other));
    assert!(conversion.notes.is_empty());
}
