//! The files of the checkout as the rules see them.

use std::path::Path;
use std::sync::LazyLock;

use celeriac_tests::paths;

use super::code::{code, code_without_tests, lines_with};

/// One text file.
pub(crate) struct File {
    /// Path from the top of the checkout, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
    /// Its code, if it is Rust.
    pub(crate) code: String,
    /// Its code without `#[cfg(test)]` items, if it is Rust.
    pub(crate) shipped: String,
    /// Whether it is only compiled for tests.
    pub(crate) is_test: bool,
}

/// Text files of the checkout, or of a sample.
pub(crate) struct Tree {
    /// The files, by path.
    pub(crate) files: Vec<File>,
    /// Whether it is the checkout, which has to have certain files.
    pub(crate) whole: bool,
}

static CHECKOUT: LazyLock<Tree> = LazyLock::new(|| {
    let mut files = Vec::new();
    walk(paths::root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Tree {
        whole: true,
        ..Tree::of(files)
    }
});

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let is_rust = Path::new(path).extension().is_some_and(|end| end == "rs");
        let rust = |blank: fn(&str) -> String| if is_rust { blank(text) } else { String::new() };
        let in_test_folder = ["tests", "benches"]
            .iter()
            .any(|folder| path.split('/').any(|part| part == *folder));
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: rust(code),
            shipped: rust(code_without_tests),
            is_test: in_test_folder || path.ends_with("/tests.rs"),
        }
    }

    /// Whether it is Rust that a person wrote.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.rsplit('.').next() == Some("rs") && !self.path.starts_with("proto/src/gen/")
    }
}

impl Tree {
    /// A sample of a few files.
    pub(crate) fn of(files: Vec<File>) -> Self {
        let mut tree = Self {
            files,
            whole: false,
        };
        let only_tests = |file: &File| {
            let shipped = |parent: &File| names_module(&parent.shipped, &file.path);
            let parents = tree.parents(&file.path);
            !parents.is_empty() && !parents.into_iter().any(shipped) && tree.is_named(&file.path)
        };
        let only_tests: Vec<bool> = tree.files.iter().map(only_tests).collect();
        for (file, only_test) in tree.files.iter_mut().zip(only_tests) {
            file.is_test |= only_test;
        }
        tree
    }

    /// The checkout.
    pub(crate) fn checkout() -> &'static Self {
        &CHECKOUT
    }

    /// Whether there is a file at a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// The file at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a module above the file names it.
    pub(crate) fn is_named(&self, path: &str) -> bool {
        let parents = self.parents(path);
        parents
            .into_iter()
            .any(|parent| names_module(&parent.code, path))
    }

    /// The files that could name it: the one beside its folder, or the root of its crate.
    fn parents(&self, path: &str) -> Vec<&File> {
        let Some((folder, _)) = path.rsplit_once('/') else {
            return Vec::new();
        };
        ["{}.rs", "{}/lib.rs", "{}/main.rs"]
            .iter()
            .map(|pattern| pattern.replace("{}", folder))
            .filter(|parent| parent != path)
            .filter_map(|parent| self.get(&parent))
            .collect()
    }
}

fn names_module(code: &str, path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let name = file.trim_end_matches(".rs");
    !lines_with(code, &format!("mod {name};")).is_empty()
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
            files.push(File::new(&path, &text));
        }
    }
}
