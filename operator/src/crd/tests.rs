//! The definitions are those in `deploy/crds`, and small. What they refuse is tested on a real API server, in
//! `tests/tests/operator`.

use std::path::Path;

use super::manifests;

/// More than this is refused by what stores last-applied configurations, and slow to read for everybody.
const BYTES_MAX: usize = 200 * 1024;

#[test]
fn deploy_has_the_definitions_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    let manifests = manifests().expect("they can be written");
    for (file, text) in &manifests {
        let kept = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert!(
            kept == *text,
            "deploy/crds/{file} is not what the types say: run `cargo run -p celeriac-operator -- crd --output deploy/crds`"
        );
        assert!(text.len() <= BYTES_MAX, "{file} has {} bytes", text.len());
    }
    let files = std::fs::read_dir(&folder)
        .expect("deploy/crds is there")
        .count();
    assert_eq!(
        files,
        manifests.len(),
        "deploy/crds holds a file that is no definition"
    );
}

#[test]
fn everything_is_described() {
    for (file, text) in manifests().expect("they can be written") {
        let schema: serde_json::Value = serde_saphyr::from_str(&text).expect("it is YAML");
        let spec = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut bare = Vec::new();
        undescribed(&spec["spec"], "spec", &mut bare);
        undescribed(&spec["status"], "status", &mut bare);
        assert!(bare.is_empty(), "{file}: no description: {bare:?}");
    }
}

fn undescribed(schema: &serde_json::Value, path: &str, bare: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            bare.push(path.clone());
        }
        undescribed(property, &path, bare);
        undescribed(&property["items"], &path, bare);
    }
}
