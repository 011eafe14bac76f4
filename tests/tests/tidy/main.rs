//! Rules of the tree that no compiler checks: who may import whom, what pure modules may not touch, dead files.
//!
//! Each rule prints the fix, and is itself tested with a sample that breaks it.

mod code;
mod rules;
mod tree;

use rules::Rule;
use tree::{File, Tree};

/// Runs a rule on the checkout, after showing that it fires on a sample that breaks it and stays quiet on one that does not.
fn check(rule: Rule, bad: (&str, &str), good: (&str, &str)) {
    let sample = |(path, text): (&str, &str)| Tree::of(vec![File::new(path, text)]);
    assert!(
        !rule(&sample(bad)).is_empty(),
        "the rule does not fire on {bad:?}"
    );
    let false_alarm = rule(&sample(good));
    assert!(false_alarm.is_empty(), "a false alarm: {false_alarm:#?}");
    let broken = rule(Tree::checkout());
    assert!(
        broken.is_empty(),
        "{} broken rules:\n  {}",
        broken.len(),
        broken.join("\n  ")
    );
}

#[test]
fn crates_import_only_what_lies_below_them() {
    let tree = Tree::checkout();
    assert!(tree.files.len() > 50, "the checkout was not found");
    check(
        rules::import_edges,
        (
            "operator/Cargo.toml",
            "[dependencies]\nceleriac-aggregator.workspace = true\n",
        ),
        (
            "operator/Cargo.toml",
            "[dependencies]\nceleriac-client.workspace = true\n",
        ),
    );
}

#[test]
fn pure_modules_have_no_clock_no_environment_no_io_and_are_not_async() {
    for bad in [
        "fn f() { let t = std::time::Instant::now(); }",
        "fn f() { let t = Timestamp::now(); }",
        "fn f() { let v = std::env::var(\"X\"); }",
        "async fn f() {}",
        "fn f() { tracing::info!(\"x\"); }",
        "use tokio::sync::mpsc;",
        "fn f() { std::fs::read(\"x\").ok(); }",
        "fn f() { println!(\"x\"); }",
    ] {
        let tree = Tree::of(vec![File::new("aggregator/src/state/fold.rs", bad)]);
        assert!(!rules::purity(&tree).is_empty(), "no alarm on {bad}");
    }
    check(
        rules::purity,
        ("inspector/src/wire/url.rs", "async fn f() {}"),
        (
            "inspector/src/wire/url.rs",
            "// async in a comment, \n fn f() { let x = \"tokio\"; } \n#[cfg(test)]\nmod tests { fn g() { let t = \
             std::time::Instant::now(); } }",
        ),
    );
}

#[test]
fn brokers_databases_and_protobuf_are_named_only_at_their_edge() {
    for (path, bad) in [
        ("inspector/src/collect/depths.rs", "use lapin::Channel;"),
        (
            "aggregator/src/engine.rs",
            "fn f(c: rusqlite::Connection) {}",
        ),
        (
            "aggregator/src/state/task.rs",
            "use celeriac_proto::v1::Task;",
        ),
        ("aggregator/src/engine.rs", "use celeriac_inspector::wire;"),
    ] {
        let tree = Tree::of(vec![File::new(path, bad)]);
        assert!(
            !rules::named_only_under(&tree).is_empty(),
            "no alarm on {bad}"
        );
    }
    check(
        rules::named_only_under,
        ("inspector/src/collect/depths.rs", "use redis::Client;"),
        (
            "inspector/src/transport.rs",
            "pub mod redis;\npub use self::redis::Redis;\nlet x = crate::transport::redis::Redis;",
        ),
    );
}

#[test]
fn modules_lie_beside_their_folder() {
    check(
        rules::no_mod_rs,
        ("inspector/src/wire/mod.rs", ""),
        ("inspector/src/wire.rs", ""),
    );
}

#[test]
fn files_are_short_enough_to_read() {
    check(
        rules::file_length,
        ("inspector/src/wire.rs", &"\n".repeat(501)),
        ("inspector/src/wire.rs", &"\n".repeat(500)),
    );
}

#[test]
fn every_source_file_is_named_by_a_module() {
    check(
        rules::dead_files,
        ("inspector/src/wire/forgotten.rs", "fn f() {}"),
        ("inspector/src/lib.rs", ""),
    );
    let named = Tree::of(vec![
        File::new("inspector/src/wire.rs", "mod named;"),
        File::new("inspector/src/wire/named.rs", "fn f() {}"),
        File::new("inspector/src/lib.rs", "pub mod wire;"),
    ]);
    assert_eq!(rules::dead_files(&named), Vec::<String>::new());
    assert!(!named.files.iter().any(|file| file.is_test));
    let only_for_tests = Tree::of(vec![
        File::new("inspector/src/wire.rs", "#[cfg(test)]\nmod recorded;"),
        File::new("inspector/src/wire/recorded.rs", "fn f() {}"),
    ]);
    assert!(only_for_tests.files[1].is_test);
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    let home = format!("cd {}user/x", concat!("/ro", "ot/"));
    check(
        rules::machine_paths,
        ("deploy/quickstart", &home),
        ("deploy/quickstart", "cd /usr/share; see user/root/file"),
    );
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    check(
        rules::unfinished,
        ("operator/src/lib.rs", "fn f() { todo!(\"later\") }"),
        ("operator/src/lib.rs", "fn f() { /* todo!( */ }"),
    );
}

#[test]
fn the_readme_is_a_page() {
    check(
        rules::readme_length,
        ("README.md", &"\n".repeat(121)),
        ("README.md", &"\n".repeat(120)),
    );
}

#[test]
fn error_texts_do_not_repeat_their_source() {
    check(
        rules::repeated_source,
        (
            "operator/src/lib.rs",
            "#[error(\"cannot read {path}: {source}\")]",
        ),
        ("operator/src/lib.rs", "#[error(\"cannot read {path}\")]"),
    );
}

#[test]
fn code_outside_tests_does_not_unwrap() {
    check(
        rules::unwrap_outside_tests,
        ("operator/src/lib.rs", "fn f() { g().unwrap() }"),
        (
            "operator/src/lib.rs",
            "fn f() { g().unwrap_or(1) }\n#[cfg(test)]\nmod tests {\n fn f() { g().unwrap() }\n}",
        ),
    );
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    check(
        rules::bare_allow,
        ("operator/src/lib.rs", "#[allow(dead_code)]\nfn f() {}"),
        (
            "operator/src/lib.rs",
            "#[expect(dead_code, reason = \"why\")]\nfn f() {}",
        ),
    );
}

#[test]
fn included_files_are_in_the_tree() {
    check(
        rules::includes_inside,
        (
            "operator/src/lib.rs",
            "const X: &str = include_str!(\"../../../elsewhere/x.json\");",
        ),
        (
            "operator/src/lib.rs",
            "const X: &str = include_str!(\"lib.rs\");",
        ),
    );
}
