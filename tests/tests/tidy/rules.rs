//! The rules. Each gives one line per place where it is broken: path, line, and the fix.

use super::code::{lines_naming, lines_with};
use super::tree::{File, Tree};

/// A rule: every breach in words.
pub(crate) type Rule = fn(&Tree) -> Vec<String>;

/// Which of our crates each crate may name in its manifest. `tests` may name all, and nothing may name `tests`.
const EDGES: [(&str, &[&str]); 7] = [
    ("process/Cargo.toml", &[]),
    ("proto/Cargo.toml", &[]),
    (
        "inspector/Cargo.toml",
        &["celeriac-process", "celeriac-proto"],
    ),
    (
        "aggregator/Cargo.toml",
        &["celeriac-process", "celeriac-proto", "celeriac-inspector"],
    ),
    ("aggregator/client/Cargo.toml", &["celeriac-proto"]),
    (
        "operator/Cargo.toml",
        &["celeriac-process", "celeriac-proto", "celeriac-client"],
    ),
    // Simulated workers share no mistake with the product.
    ("tests/swarm/Cargo.toml", &[]),
];

/// Where code is pure: values in, values out.
const PURE: [&str; 12] = [
    "inspector/src/wire",
    "inspector/src/sidecar/ward",
    "inspector/src/sidecar/pace",
    "aggregator/src/state",
    "aggregator/src/query",
    "operator/src/crd",
    "operator/src/validate",
    "operator/src/build",
    "operator/src/autoscale",
    "operator/src/convert",
    "operator/src/figures",
    "operator/src/drain",
];

/// What pure code may not contain, and what to do instead.
const IMPURE: [(&str, &str); 14] = [
    ("SystemTime::now", "take `now` as an argument"),
    ("Instant::now", "take `now` as an argument"),
    ("Timestamp::now", "take `now` as an argument"),
    ("Zoned::now", "take `now` as an argument"),
    ("std::env", "take the value as an argument"),
    ("env::var", "take the value as an argument"),
    ("std::fs", "let the shell read and write"),
    ("std::net", "let the shell talk to the network"),
    ("std::process", "let the shell start processes"),
    ("std::thread", "let the shell start threads"),
    ("async", "return what to do, let the shell await"),
    (".await", "return what to do, let the shell await"),
    ("println!", "return what happened, let the shell print"),
    ("eprintln!", "return what happened, let the shell print"),
];

/// Crates that pure code may not name, and what to do instead.
const IMPURE_CRATES: [(&str, &str); 5] = [
    ("tokio", "return what to do, let the shell await"),
    ("tracing", "return what happened, let the shell log"),
    ("redis::", "use the transport's own types"),
    ("lapin", "use the transport's own types"),
    ("rusqlite", "use the history's own types"),
];

/// A crate, where it may be named, and why. Prefixes of paths, tests aside.
const NAMED_ONLY_UNDER: [(&str, &[&str], &str); 5] = [
    (
        "redis::",
        &["inspector/src/transport/redis"],
        "go through the `Transport` trait",
    ),
    (
        "lapin",
        &["inspector/src/transport/amqp"],
        "go through the `Transport` trait",
    ),
    (
        "async_rs",
        &["inspector/src/transport/amqp"],
        "it is only there for lapin",
    ),
    (
        "rusqlite",
        &["aggregator/src/history"],
        "go through the history's functions",
    ),
    (
        "celeriac_proto",
        &[
            "proto/",
            "aggregator/src/api",
            "aggregator/src/inprocess.rs",
            "aggregator/client/",
            "inspector/src/uplink",
        ],
        "use the domain's types and convert at the edge",
    ),
];

/// The rule of the manifest: `process` and `proto` below everything, the inspector inside the aggregator only, nothing above `tests`.
pub(crate) fn import_edges(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for (manifest, allowed) in EDGES {
        let Some(file) = tree.get(manifest) else {
            if tree.whole {
                broken.push(format!(
                    "{manifest}: missing, or moved without its rule here"
                ));
            }
            continue;
        };
        for (number, line) in file.text.lines().enumerate() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if name.starts_with("celeriac-") && !allowed.contains(&name) {
                broken.push(format!(
                    "{manifest}:{}: may not depend on {name}; it may on {allowed:?}",
                    number + 1
                ));
            }
        }
    }
    broken
}

/// Pure modules touch no clock, environment, file, socket, log or runtime.
pub(crate) fn purity(tree: &Tree) -> Vec<String> {
    let pure = |path: &str| PURE.iter().any(|prefix| is_under(path, prefix));
    each_line(tree, |file| {
        if !pure(&file.path) || file.is_test {
            return Vec::new();
        }
        let code = &file.shipped;
        let breach = |lines: Vec<usize>, word: &str, fix: &str| {
            at(lines, &format!("`{word}` in a pure module: {fix}"))
        };
        let words = IMPURE.iter();
        let words = words.flat_map(|(word, fix)| breach(lines_with(code, word), word, fix));
        let crates = IMPURE_CRATES.iter();
        let crates = crates.flat_map(|(word, fix)| breach(lines_naming(code, word), word, fix));
        words.chain(crates).collect()
    })
}

/// Drivers and wire types are named only where they are wrapped.
pub(crate) fn named_only_under(tree: &Tree) -> Vec<String> {
    let inside =
        |path: &str, prefixes: &[&str]| prefixes.iter().any(|prefix| is_under(path, prefix));
    let mut broken = each_line(tree, |file| {
        if !file.is_rust() || file.is_test {
            return Vec::new();
        }
        let code = &file.shipped;
        NAMED_ONLY_UNDER
            .iter()
            .filter(|(_, prefixes, _)| !inside(&file.path, prefixes))
            .flat_map(|(word, prefixes, fix)| {
                let message = format!("`{word}` is named only under {prefixes:?}: {fix}");
                at(lines_naming(code, word), &message)
            })
            .collect()
    });
    broken.extend(each_line(tree, |file| {
        if !is_under(&file.path, "aggregator/src") || file.path == "aggregator/src/inprocess.rs" {
            return Vec::new();
        }
        let lines = lines_naming(&file.shipped, "celeriac_inspector");
        at(
            lines,
            "the inspector is named in aggregator/src/inprocess.rs only: move this there",
        )
    }));
    broken
}

/// `name.rs` beside `name/`.
pub(crate) fn no_mod_rs(tree: &Tree) -> Vec<String> {
    each_line(tree, |file| {
        let found = file.path.ends_with("/mod.rs");
        at(
            found.then_some(1).into_iter().collect(),
            "a module lies beside its folder: rename to <folder>.rs one level up",
        )
    })
}

/// Files stay under 500 lines.
pub(crate) fn file_length(tree: &Tree) -> Vec<String> {
    const LINES_MAX: usize = 500;
    each_line(tree, |file| {
        let is_code = file.is_rust()
            || [".py", ".proto", ".sql", ".sh"]
                .iter()
                .any(|end| file.path.ends_with(end))
            || file.text.starts_with("#!");
        let lines = file.text.lines().count();
        let message =
            format!("{lines} lines, at most {LINES_MAX}: split it where a reader would look");
        at(
            (is_code && lines > LINES_MAX)
                .then_some(lines)
                .into_iter()
                .collect(),
            &message,
        )
    })
}

/// A `.rs` file that no `mod` names is not compiled.
pub(crate) fn dead_files(tree: &Tree) -> Vec<String> {
    each_line(tree, |file| {
        if !file.is_rust() || is_crate_root(&file.path) || tree.is_named(&file.path) {
            return Vec::new();
        }
        at(
            vec![1],
            "no `mod` names this file, so it is not compiled: name it or delete it",
        )
    })
}

/// No path of one machine.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<String> {
    let words = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
    ];
    each_line(tree, |file| {
        let mut lines = Vec::new();
        for (number, line) in file.text.lines().enumerate() {
            let absolute = words.iter().any(|word| {
                line.match_indices(word).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|c| !(c.is_alphanumeric() || "-_.}$".contains(c)))
                })
            });
            if absolute {
                lines.push(number + 1);
            }
        }
        at(
            lines,
            "a path of one machine: derive it from the environment or the checkout",
        )
    })
}

/// No `todo!`, no `unimplemented!`.
pub(crate) fn unfinished(tree: &Tree) -> Vec<String> {
    each_line(tree, |file| {
        if !file.is_rust() {
            return Vec::new();
        }
        let code = &file.code;
        let mut lines = lines_naming(code, concat!("todo", "!("));
        lines.extend(lines_naming(code, concat!("unimplemented", "!(")));
        at(
            lines,
            "unfinished: write it, or answer UNIMPLEMENTED over gRPC",
        )
    })
}

/// The README is at most 120 lines.
pub(crate) fn readme_length(tree: &Tree) -> Vec<String> {
    match tree.get("README.md") {
        Some(file) if file.text.lines().count() > 120 => {
            vec![
                "README.md: more than 120 lines: move detail to ARCHITECTURE.md or docs".to_owned(),
            ]
        }
        None if tree.whole => {
            vec!["README.md: missing: say what it is and two commands".to_owned()]
        }
        _ => Vec::new(),
    }
}

/// `Display` of an error does not repeat its source; the chain is printed by whoever reports it.
pub(crate) fn repeated_source(tree: &Tree) -> Vec<String> {
    each_line(tree, |file| {
        if !file.is_rust() || file.path.starts_with("tests/tests/tidy/") {
            return Vec::new();
        }
        let lines = file
            .text
            .match_indices("#[error(")
            .filter_map(|(start, _)| {
                let attribute = file.text[start..].split(")]").next().unwrap_or_default();
                let repeats = attribute.contains("{source");
                repeats.then(|| file.text[..start].matches('\n').count() + 1)
            });
        at(
            lines.collect(),
            "the text repeats its source: leave `{source}` out, the chain prints it",
        )
    })
}

/// `unwrap` is for tests.
pub(crate) fn unwrap_outside_tests(tree: &Tree) -> Vec<String> {
    each_line(tree, |file| {
        if !file.is_rust() || file.is_test {
            return Vec::new();
        }
        let lines = lines_naming(&file.shipped, ".unwrap()");
        at(
            lines,
            "`unwrap` outside tests: return an error, or `expect` with the proof",
        )
    })
}

/// A lint is expected with a reason. Generated code is the exception, since what it trips changes.
pub(crate) fn bare_allow(tree: &Tree) -> Vec<String> {
    each_line(tree, |file| {
        if !file.is_rust() || file.path == "proto/src/lib.rs" {
            return Vec::new();
        }
        let code = &file.code;
        let mut lines = lines_naming(code, "#[allow(");
        lines.extend(lines_naming(code, "#![allow("));
        at(
            lines,
            "use `#[expect(lint, reason = \"…\")]`, which ends when it is no longer needed",
        )
    })
}

/// What `include_str!` and `include_bytes!` read is in the checkout.
pub(crate) fn includes_inside(tree: &Tree) -> Vec<String> {
    each_line(tree, |file| {
        if !file.is_rust() || file.path.starts_with("tests/tests/tidy/") {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for (number, line) in file.text.lines().enumerate() {
            for macro_name in ["include_str!(\"", "include_bytes!(\"", "include!(\""] {
                let Some((_, rest)) = line.split_once(macro_name) else {
                    continue;
                };
                let path = rest.split('"').next().unwrap_or_default();
                let target = resolve(&file.path, path);
                // Binary files are not in the tree of texts: they are looked up on disk.
                let on_disk = |path: &str| celeriac_tests::paths::root().join(path).is_file();
                if !target
                    .is_some_and(|target| tree.has(&target) || (tree.whole && on_disk(&target)))
                {
                    lines.push(number + 1);
                }
            }
        }
        at(
            lines,
            "reads a file outside the checkout: copy it to tests/fixtures",
        )
    })
}

/// `folder/file.rs` and a relative path as a path from the top, if it stays inside.
fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

/// Whether a path is `prefix` itself, below it, or the file `prefix.rs` or `prefix_more.rs`.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| {
        rest.is_empty() || prefix.ends_with('/') || rest.starts_with(['/', '.'])
    })
}

/// Whether cargo compiles the file by itself.
fn is_crate_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _] => true,
        [.., folder, "build.rs"] | [.., "tests" | "benches" | "examples", folder, "main.rs"] => {
            *folder != "src"
        }
        [.., "tests" | "benches" | "examples" | "targets", _] => !parts.contains(&"src"),
        _ => false,
    }
}

fn at(lines: Vec<usize>, message: &str) -> Vec<(usize, String)> {
    lines
        .into_iter()
        .map(|line| (line, message.to_owned()))
        .collect()
}

fn each_line(tree: &Tree, rule: impl Fn(&File) -> Vec<(usize, String)>) -> Vec<String> {
    let in_file = |file: &File| {
        let lines = rule(file).into_iter();
        let lines = lines.map(|(line, message)| format!("{}:{line}: {message}", file.path));
        lines.collect::<Vec<_>>()
    };
    tree.files.iter().flat_map(in_file).collect()
}
