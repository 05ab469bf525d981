//! Compiles the protocol: every file in `proto`, without any program from outside.
#![expect(clippy::disallowed_methods, reason = "what is built is files")]

use std::error::Error;
use std::path::{Path, PathBuf};

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut files = Vec::new();
    for entry in std::fs::read_dir("proto")? {
        files.push(entry?.file_name());
    }
    files.retain(|name| {
        Path::new(name)
            .extension()
            .is_some_and(|end| end == "proto")
    });
    files.sort();
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("travertine.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
