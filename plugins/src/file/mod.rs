//! `file`: the log in one directory of the file system.
//!
//! It promises what a log promises, and keeps beside it which stack wrote it: another stack is
//! refused by name before anything is read as what it is not.

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Error, Result, Store};
use travertine_engine::log::{Log, LogOptions};
use travertine_engine::stack::{
    Below, Beside, Declared, Fault, OpenContext, Plugin, PluginKind, Shelf,
};

pub use config::File;

impl Plugin for File {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(vec![self.reading(), self.overwriting()])
    }

    fn open(&self, context: &OpenContext, _below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let medium = context.medium(&self.path, self.unit());
        let options = LogOptions {
            stream: context.stream,
            extent: context.extent,
            segment: self.segment.0,
            grow: self.grow.into(),
            read: self.read.into(),
            read_only: context.read_only,
            fingerprint: context.fingerprint.text().to_owned(),
            store: context.identity,
            handles: context.handles.clone(),
            ..LogOptions::default()
        };
        let log = Log::open("file", medium, &context.env, options)?;
        let (wrote, ours) = (log.fingerprint(), context.fingerprint.text());
        if !wrote.is_empty() && wrote != ours {
            return Err(Error::invalid(format!(
                "the log in {} was written by the stack {wrote}, and this stack is {ours}",
                context.resolve(&self.path).display()
            )));
        }
        Ok(Arc::new(log))
    }

    fn shelf(&self, context: &OpenContext) -> Option<Arc<dyn Shelf>> {
        let medium = context.medium(&self.path, self.unit());
        Some(Arc::new(Beside(medium)))
    }
}
