//! `tag`: names for commits that shall stay.

use clap::Args;
use serde::Serialize;

use super::tree::AtArg;
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::stack::Registry;

/// Give a commit a name, under which it stays
///
/// What a tag names is not reclaimed until the tag is taken away. Every command that takes --at takes the
/// name of a tag there. Without a name: list the tags.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine tag stack.toml before-the-import
  travertine tag stack.toml year-end --at 2026-12-31T23:59:59Z
  travertine get stack.toml --tree orders order-17 --at year-end
  travertine tag stack.toml year-end --delete
  travertine tag stack.toml                                  list them")]
pub(super) struct Tag {
    #[command(flatten)]
    stack: StackArg,
    /// The name of the tag
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    at: AtArg,
    /// Take the tag away
    #[arg(long, requires = "name", conflicts_with = "at")]
    delete: bool,
    /// Print one line of JSON for each tag
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Facts {
    tag: String,
    sequence: u64,
    epoch: String,
    time: String,
}

impl Run for Tag {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let Some(name) = &self.name else {
            let opened = self.stack.open_to_read(registry, terminal)?;
            for tag in opened.engine.tags()? {
                Facts::of(&tag).tell(self.json, terminal)?;
            }
            return Ok(Outcome::Fine);
        };
        if super::tree::parse_at(name).is_ok() {
            return Err(Failure::wrong(format!(
                "{name} is the number or the time of a commit; call the tag something else"
            )));
        }
        let tagged = self.stack.write(registry, |engine| {
            if self.delete {
                engine.untag(name)?;
                return Ok(None);
            }
            engine.tag(name, &self.at.snapshot(engine)?)?;
            let tags = engine.tags()?;
            Ok(tags.into_iter().find(|tag| tag.name == *name))
        })?;
        if let Some(tag) = tagged {
            Facts::of(&tag).tell(self.json, terminal)?;
        }
        Ok(Outcome::Fine)
    }
}

impl Facts {
    fn of(tag: &crate::front::Tag) -> Self {
        Self {
            tag: tag.name.clone(),
            sequence: tag.sequence,
            epoch: tag.epoch.to_string(),
            time: super::roots::time(tag.time),
        }
    }

    fn tell(&self, json: bool, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        if json {
            return terminal.json(self);
        }
        terminal.say(format_args!(
            "{:>8}  {}  {}  {}",
            self.sequence, self.time, self.epoch, self.tag
        ))
    }
}
