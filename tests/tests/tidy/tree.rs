//! The files of the checkout as the rules see them.

use std::path::Path;

use celeriac_tests::paths;

/// One text file.
pub(crate) struct File {
    /// Path from the top of the checkout, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// Text files of the checkout, or of a sample.
pub(crate) struct Tree {
    /// The files, by path.
    pub(crate) files: Vec<File>,
    /// Whether it is the checkout, which has to have certain files.
    pub(crate) whole: bool,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Whether it is Rust that a person wrote.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.path.starts_with("proto/src/gen/")
    }

    /// Whether it is only compiled for tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.ends_with("/tests.rs")
    }
}

impl Tree {
    /// A sample of a few files.
    pub(crate) fn of(files: Vec<File>) -> Self {
        Self {
            files,
            whole: false,
        }
    }

    /// The checkout.
    pub(crate) fn checkout() -> Self {
        let mut files = Vec::new();
        walk(paths::root(), "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files, whole: true }
    }

    /// Whether there is a file at a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// The file at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// Collects text files; binary ones and what builds leave behind are left out.
fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries = std::fs::read_dir(folder).expect("the checkout is readable");
    for entry in entries {
        let entry = entry.expect("the checkout is readable");
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if [".git", "target", "node_modules", "__pycache__"].contains(&name.as_str()) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}
