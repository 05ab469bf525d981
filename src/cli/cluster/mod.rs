//! `cluster`: the children of a cluster, one beside the other.
//!
//! ```text
//!   replace   an empty directory joins in the place of a child that was lost
//!   check     every batch of every child, compared by running checksums
//! ```

mod check;
pub(super) mod copies;
mod replace;

use clap::{Args, Subcommand};

use super::{Failure, Outcome, Run, Terminal};
use crate::stack::{Floor, Plan, Registry};

/// Replace a lost child of a cluster, or compare its children
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine cluster check stack.toml
  travertine cluster replace stack.toml 2")]
pub(super) struct Cluster {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Replace(replace::Replace),
    Check(check::Check),
}

impl Run for Cluster {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        match self.what {
            What::Replace(replace) => replace.run(registry, terminal),
            What::Check(check) => check.run(registry, terminal),
        }
    }
}

/// What the kind is called.
pub(super) const CLUSTER: &str = "cluster";

/// Every cluster of a stack.
fn clusters(plan: &Plan) -> impl Iterator<Item = &Floor> {
    let floors = plan.top().walk().map(|(_, floor)| floor);
    floors.filter(|floor| floor.kind().name == CLUSTER)
}

/// The one cluster of a stack, or the one of this name.
fn find<'a>(plan: &'a Plan, name: Option<&str>) -> Result<&'a Floor, Failure> {
    let mut found =
        clusters(plan).filter(|floor| name.is_none_or(|name| floor.name() == Some(name)));
    match (found.next(), found.next()) {
        (Some(floor), None) => Ok(floor),
        (Some(_), Some(_)) => Err(Failure::wrong(
            "this stack has several clusters: name one with --layer",
        )),
        (None, _) => Err(Failure::wrong(match name {
            Some(name) => format!("this stack has no cluster of the name {name:?}"),
            None => "this stack has no cluster".to_owned(),
        })),
    }
}
