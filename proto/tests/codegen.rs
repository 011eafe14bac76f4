//! Proves that the committed generated code is what the proto files give.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

const FILES: &[&str] = &["celeriac.v1.rs", "descriptor.bin"];

fn generate(out: &Path) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut protos: Vec<PathBuf> = fs::read_dir(root.join("celeriac/v1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "proto")
        })
        .collect();
    protos.sort();
    let mut compiler = protox::Compiler::new([&root]).unwrap();
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&protos)
        .unwrap();
    let with_comments = compiler.file_descriptor_set();
    // Comments are for people who read the proto files; reflection and JSON do without.
    let mut bare = with_comments.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptor.bin"), bare.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds(with_comments)
        .unwrap();
    keep_events_encoded(&out.join("celeriac.v1.rs"));
}

/// Of all that is sent the most by far are events of batches. In Rust they stay as they are on the wire, where a message and
/// bytes look alike: both sides go past the generated type, which has two maps and a string for every text.
fn keep_events_encoded(file: &Path) {
    let generated = fs::read_to_string(file).unwrap();
    let field = "#[prost(message, repeated, tag = \"2\")]
    pub events: ::prost::alloc::vec::Vec<Event>,";
    assert_eq!(generated.matches(field).count(), 1, "Batch.events");
    let encoded = "/// In Rust each is encoded, as [`Event`] is.
    #[prost(bytes = \"bytes\", repeated, tag = \"2\")]
    pub events: ::prost::alloc::vec::Vec<::prost::bytes::Bytes>,";
    fs::write(file, generated.replace(field, encoded)).unwrap();
}

#[test]
fn generated_code_is_current() {
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    if env::var_os("UPDATE").is_some() {
        generate(&committed);
    }
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    for file in FILES {
        let want = fs::read(fresh.path().join(file)).unwrap();
        let have = fs::read(committed.join(file)).unwrap_or_default();
        assert!(
            want == have,
            "proto/src/gen/{file} is not what the proto files give; run `UPDATE=1 cargo test -p celeriac-proto`"
        );
    }
}
