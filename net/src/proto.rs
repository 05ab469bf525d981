//! The messages and services of `proto/*.proto`, as Rust. What they mean stands in those files.
#![expect(
    clippy::allow_attributes,
    unused_qualifications,
    reason = "made by a generator"
)]

tonic::include_proto!("travertine.v1");

/// All files of the protocol, as a descriptor set: what reflection tells.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/travertine.bin"));
