//! Compiles the protocol: every file in `proto`, without any program from outside. Beside the messages it
//! writes down how they lie in one another, by which `wire::room` reckons what one will take.
#![expect(clippy::disallowed_methods, reason = "what is built is files")]

use std::error::Error;
use std::path::{Path, PathBuf};

use protox::prost::Message;
use protox::prost_reflect::{
    Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor,
};

/// What is rare and large stands apart, so that each of the many small ones is small in memory too.
const APART: [&str; 4] = [
    "travertine.v1.Call.verb.reclaim",
    "travertine.v1.Answer.answer.error",
    "travertine.v1.Answer.answer.scanned",
    "travertine.v1.Answer.answer.status",
];

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
    std::fs::write(out.join("shapes.rs"), shapes(&descriptors.encode_to_vec())?)?;
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    for field in APART {
        config.boxed(field);
    }
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::wire::codec::Bounded")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// For each message the fields that take room beside it: what each item takes, and what lies in it.
fn shapes(descriptors: &[u8]) -> Result<String, Box<dyn Error>> {
    let pool = DescriptorPool::decode(descriptors)?;
    let mut text = String::new();
    let mut types = Vec::new();
    for message in pool.all_messages() {
        let (name, path) = (constant(&message), path(&message));
        let mut fields = String::new();
        for field in message.fields() {
            let many = field.cardinality() == Cardinality::Repeated;
            let item = match field.kind() {
                Kind::Message(inner) => {
                    let each = if many || apart(&field) {
                        size(&self::path(&inner))
                    } else {
                        "0".to_owned()
                    };
                    format!(
                        "Field::Message {{ each: {each}, shape: &{} }}",
                        constant(&inner)
                    )
                }
                Kind::String if many => "Field::Bytes { each: 24 }".to_owned(),
                Kind::Bytes if many => "Field::Bytes { each: 32 }".to_owned(),
                _ if many => "Field::Numbers".to_owned(),
                _ => continue,
            };
            fields += &format!("({}, {item}), ", field.number());
        }
        text += &format!("static {name}: Shape = Shape(&[{fields}]);\n");
        if message.parent_message().is_none() {
            text +=
                &format!("impl Shaped for {path} {{ const SHAPE: &'static Shape = &{name}; }}\n");
        }
        types.push(size(&path));
    }
    text += &format!(
        "const SIZES: [usize; {}] = [{}];\n",
        types.len(),
        types.join(", ")
    );
    Ok(text)
}

fn apart(field: &FieldDescriptor) -> bool {
    let message = field.parent_message();
    field.containing_oneof().is_some_and(|one| {
        let name = format!("{}.{}.{}", message.full_name(), one.name(), field.name());
        APART.contains(&name.as_str())
    })
}

fn constant(message: &MessageDescriptor) -> String {
    message.full_name().replace('.', "_").to_uppercase()
}

/// The generated type; one that lies in another stands in a module of that name.
fn path(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        None => format!("crate::proto::{}", message.name()),
        Some(parent) => format!(
            "crate::proto::{}::{}",
            parent.name().to_lowercase(),
            message.name()
        ),
    }
}

fn size(path: &str) -> String {
    format!("size_of::<{path}>()")
}
