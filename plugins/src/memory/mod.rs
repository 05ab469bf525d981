//! `memory`: the log in the memory of this process.
//!
//! It promises what a log promises, but for one thing: nothing outlives the process. A stack that
//! ends here has to name a level that it can reach.

use std::sync::Arc;

use serde::Deserialize;
use travertine_engine::contract::{Level, Result, Store};
use travertine_engine::log::{Log, LogOptions};
use travertine_engine::medium::memory::MemoryMedium;
use travertine_engine::stack::{
    Arity, Below, Beside, ByteSize, Declared, Fault, OpenContext, OptionRow, OptionType, Plugin,
    PluginKind, Properties, Property, Shelf,
};

/// The config of a `memory` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Memory {
    segment: ByteSize,
}

impl Plugin for Memory {
    const KIND: PluginKind = PluginKind {
        summary: "keeps the log in memory, until the process ends",
        cost: "a copy of every byte in memory; nothing survives",
        doc: "For tests, and for what can be made again. The stack must name a level it can reach: \
              level = \"memory\" at the top of the stack file.",
        options: &[OptionRow::preset(
            "segment",
            OptionType::Size {
                min: 64 << 10,
                max: 1 << 30,
            },
            "64 MiB",
            "the log is cut into segments of this length",
        )],
        declared: Declared::bottom(Level::Memory, Properties::all_but(&[Property::Persists])),
        structural: true,
        ..PluginKind::new("memory", Arity::Bottom)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, _below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let options = LogOptions {
            stream: context.stream,
            extent: context.extent,
            segment: self.segment.0,
            fingerprint: context.fingerprint.text().to_owned(),
            store: context.identity,
            // There is never anything to read but what this opening writes.
            read_only: false,
            ..LogOptions::default()
        };
        let medium = Arc::new(MemoryMedium::new());
        Ok(Arc::new(Log::open(
            "memory",
            medium,
            &context.env,
            options,
        )?))
    }

    fn shelf(&self, _context: &OpenContext) -> Option<Arc<dyn Shelf>> {
        // Whoever holds on to it has its notes as long as the log.
        Some(Arc::new(Beside(Arc::new(MemoryMedium::new()))))
    }
}
