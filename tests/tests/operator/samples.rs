//! Every sample is taken and made; what `convert` makes of the ancestor's objects is taken too.

use std::path::PathBuf;

use celeriac_tests::eventually;
use celeriac_tests::kube::{SOON, condition};
use celeriac_tests::operator::plane;
use celeriac_tests::paths::{self, Profile, binary};
use serde_json::Value;

use crate::operator::{operator, run_pods};

const KINDS: &str = "celeries,celerybrokers,celeryworkers,celeryschedulers";

#[tokio::test]
async fn every_sample_becomes_ready() {
    let (plane, _) = operator().await;
    let namespace = plane.namespace("samples").await;
    let mut files: Vec<PathBuf> = std::fs::read_dir(paths::root().join("deploy/samples"))
        .expect("deploy/samples is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    let mut wanted = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("it can be read");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("it is YAML");
        for document in documents {
            if document["apiVersion"] == "celeriac.dev/v1alpha1" {
                let of = |value: &Value| value.as_str().expect("a text").to_owned();
                wanted.push((of(&document["kind"]), of(&document["metadata"]["name"])));
            }
        }
        namespace.apply(&text);
    }
    for (kind, name) in wanted {
        eventually(&format!("{kind} {name} is Ready"), SOON, async || {
            run_pods(&namespace);
            let object = namespace.get(&kind, &name)?;
            if condition(&object, "Ready")["status"] == "True" {
                Ok(())
            } else {
                Err(object["status"].to_string())
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_converted_is_taken_by_the_api_server() {
    let plane = plane().await;
    let namespace = plane.namespace("converted").await;
    let folder = paths::root().join("operator/src/convert/fixtures");
    let program = binary(Profile::Debug, "celeriac-operator");
    let run = std::process::Command::new(program)
        .arg("convert")
        .arg(folder.join("ancestor.yaml"))
        .output()
        .expect("it can be started");
    let notes = String::from_utf8(run.stderr).expect("it is UTF-8");
    assert!(run.status.success(), "{notes}");
    let said: Vec<&str> = notes.lines().collect();
    let wanted = std::fs::read_to_string(folder.join("notes.txt")).expect("it is there");
    let wanted: Vec<String> = wanted.lines().map(|note| format!("note: {note}")).collect();
    assert_eq!(said, wanted);
    let converted = String::from_utf8(run.stdout).expect("it is UTF-8");
    // The fixture's own namespace is not there; here everything is in one.
    let converted = converted.replace(
        "namespace: live",
        &format!("namespace: {}", namespace.name()),
    );
    let taken = namespace.apply(&converted);
    assert_eq!(taken.lines().count(), 6, "{taken}");
    let names = namespace.kubectl(&["get", KINDS, "-o", "name"]);
    for name in [
        "celery.celeriac.dev/shop",
        "celery.celeriac.dev/mail",
        "celerybroker.celeriac.dev/cache",
        "celeryworker.celeriac.dev/alone",
        "celeryscheduler.celeriac.dev/clock",
    ] {
        assert!(names.lines().any(|line| line == name), "{name} in {names}");
    }
    let shop = namespace.get("celery", "shop").expect("it is there");
    assert_eq!(
        shop["spec"]["workers"][1]["targetQueues"],
        serde_json::json!(["reports", "nightly"])
    );
}
