//! Timelines: a script a person can write, and beside it what was decided and why. `UPDATE=1` writes the decisions anew.

mod properties;
mod timeline;

use std::fs;
use std::path::{Path, PathBuf};

const PARTING: &str = "---\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/autoscale/tests/golden")
}

#[test]
fn decisions_are_those_of_the_timelines() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{} timelines", files.len());
    let mut differ = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let (script, expected) = text.split_once(PARTING).unwrap_or((&text, ""));
        let decided = timeline::run(script);
        if decided == expected {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, format!("{script}{PARTING}{decided}")).unwrap();
        }
        differ.push(format!("{}:\n{decided}", path.display()));
    }
    assert!(
        differ.is_empty(),
        "decided otherwise (UPDATE=1 writes it into the files):\n{}",
        differ.join("\n")
    );
}
