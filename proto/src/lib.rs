//! The contract `celeriac.v1`: messages, clients and servers, generated from `celeriac/v1/*.proto`. It converts nothing.
//!
//! The generated code is committed, so that a build needs no generator and a change of the wire is seen in review.
//! `cargo test -p celeriac-proto` proves that it is current; `UPDATE=1 cargo test -p celeriac-proto` writes it anew.

/// Package `celeriac.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    include!("gen/celeriac.v1.rs");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the contract with its imports, for reflection and JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptor.bin");
