//! `cluster replace`: an empty child joins, and is brought everything.

use std::time::Duration;

use clap::Args;

use super::super::progress::Progress;
use super::super::{Failure, Outcome, Run, StackArg, Terminal};
use super::find;
use crate::contract::{Env, Status};
use crate::stack::Registry;

/// How often one looks how far it is.
const PAUSE: Duration = Duration::from_millis(20);
/// So often one looks while nothing moves: half a minute, in which a device may come to itself.
const LOOKS: u32 = 1500;
/// So often one looks before there is another commit.
const COMMIT: u32 = 10;

/// Bring an empty directory into a cluster, in the place of a child that was lost
///
/// Clear the directory of the child first, or put an empty disk in its place. The others note durably
/// that the old one counts no more; then the new one is brought every batch, and counts once it has
/// them all. Should the old one turn up again, it stays out. Interrupted, it goes on with the next
/// writer, or when it is called again. In the history it leaves commits that change nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine cluster replace stack.toml 2")]
pub(super) struct Replace {
    #[command(flatten)]
    stack: StackArg,
    /// Which child, by its number in `over`, counted from 1
    #[arg(value_name = "CHILD")]
    child: u8,
    /// The name of the cluster's layer, if the stack has several
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
}

impl Run for Replace {
    fn run(mut self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let file = self.stack.load(registry)?;
        let floor = find(file.plan(), self.layer.as_deref())?;
        let children = floor.below().len();
        if !(1..=children).contains(&usize::from(self.child)) {
            return Err(Failure::wrong(format!(
                "the cluster has {children} children, and there is no child {}",
                self.child
            )));
        }
        let layer = floor.name().unwrap_or("cluster").to_owned();
        self.stack
            .set
            .set
            .push(format!("{layer}.replace={}", self.child));
        let child = self.child;
        let clock = Env::system().clock;
        let progress = Progress::bytes("bringing it up", 0, 0);
        progress.show(terminal);
        let brought = self.stack.write(registry, |engine| {
            // Only a writer has the others note who counts, and it begins with its first commit.
            let commit = || engine.session()?.commit(&[], None).wait();
            commit()?;
            let (mut last, mut still) = (None, 0);
            loop {
                let status = engine.status();
                let Some(status) = cluster(&status, self.layer.as_deref()) else {
                    return Err(Failure::wrong("this stack has no cluster"));
                };
                let figure = |name| {
                    let found = status.figures.iter().find(|(of, _)| *of == name);
                    found.map_or(0, |(_, value)| *value)
                };
                let troubles = status.below.iter().map(|child| child.refusing.as_deref());
                let troubles: Vec<_> = troubles.collect();
                let (out, lost) = (figure("children_out"), figure("children_lost"));
                let settled = figure("children_in_line") + out == figure("children");
                let ours = troubles.get(usize::from(child) - 1).copied().flatten();
                // Another child may be out: that is for another day.
                if settled && ours.is_none() {
                    return Ok(figure("batches_caught_up"));
                }
                if let Some(refusing) = &status.refusing {
                    return Err(Failure::fault(refusing.clone()));
                }
                let now = (figure("children_in_line"), figure("batches_caught_up"));
                still = if last == Some(now) { still + 1 } else { 0 };
                last = Some(now);
                // One that is lost is not tried again.
                if settled && out == lost || still > LOOKS {
                    let troubles: Vec<_> = troubles.into_iter().flatten().collect();
                    return Err(Failure::fault(troubles.join("; ")));
                }
                if still % COMMIT == COMMIT - 1 {
                    // Who has everything is told so at the end of a commit, and counts from then on.
                    commit()?;
                }
                clock.sleep(PAUSE);
            }
        })?;
        progress.finish();
        terminal.say(format_args!(
            "child {child} is in line; {brought} batches were brought to it"
        ))?;
        Ok(Outcome::Fine)
    }
}

/// What the cluster says of itself.
fn cluster<'a>(status: &'a Status, name: Option<&str>) -> Option<&'a Status> {
    let named = name.is_none() || status.name.as_deref() == name;
    if status.kind == "cluster" && named {
        return Some(status);
    }
    status.below.iter().find_map(|below| cluster(below, name))
}
