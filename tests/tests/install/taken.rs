//! Every set of values is taken by the API server itself, whose word counts for more than a schema's, and without a warning: not
//! even that a pod would not be restricted.

use std::path::PathBuf;

use celeriac_tests::kube::ControlPlane;
use celeriac_tests::paths;
use serde_json::{Value, json};

use crate::{TURN, chart, helm, restricted};

/// Kinds whose definitions are others' to install.
const OTHERS: [&str; 2] = ["cert-manager.io/", "monitoring.coreos.com/"];

#[tokio::test]
async fn every_set_of_values_is_taken_without_a_warning() {
    let _turn = TURN.lock().await;
    let home = restricted("taken").await;
    for name in ["shop", "celeriac"] {
        // One that is there already will do.
        let _ = home.try_kubectl(&["create", "namespace", name]);
    }
    let mut sets: Vec<PathBuf> = std::fs::read_dir(paths::root().join("tests/charts/values"))
        .expect("they are there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    sets.sort();
    assert!(sets.len() >= 12, "{sets:?}");
    let file = ControlPlane::started().folder().join("taken.json");
    for set in [None].into_iter().chain(sets.into_iter().map(Some)) {
        let said = set
            .as_ref()
            .map_or("defaults".into(), |set| set.display().to_string());
        let values = set.map(|set| format!("--values={}", set.display()));
        let chart = chart("celeriac");
        let words = ["template", "celeriac", &chart].into_iter();
        let words: Vec<&str> = words.chain(values.as_deref()).collect();
        let text = helm(&home, &words).unwrap_or_else(|error| panic!("{said}: {error}"));
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("it is YAML");
        let known = documents.into_iter().filter(|one| {
            let version = one["apiVersion"].as_str().unwrap_or_default();
            !one.is_null() && !OTHERS.iter().any(|others| version.starts_with(others))
        });
        let known: Vec<Value> = known.collect();
        assert!(known.len() >= 5, "{said}: {known:?}");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": known});
        std::fs::write(&file, list.to_string()).expect("a folder of our own");
        let path = file.to_str().expect("a path in ASCII");
        let taken = home.try_kubectl(&[
            "create",
            "--dry-run=server",
            "--warnings-as-errors",
            "--validate=strict",
            "-f",
            path,
        ]);
        taken.unwrap_or_else(|error| panic!("{said}: {error}"));
    }
}
