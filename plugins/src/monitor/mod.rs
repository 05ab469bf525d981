//! `monitor`: counts and times every call at every boundary below it, tells of it, and holds writes
//! back when what lies below is in trouble.
//!
//! ```text
//!   monitor          live page, /metrics, /health; log of slow calls; moderation
//!     | probe        calls, bytes, errors by kind and answers on their way, exactly
//!   cache            times of one store or read in so many and of all else, as histograms
//!     | probe
//!   file
//! ```
//!
//! It promises that nothing below behaves otherwise for being watched: no byte is changed, no answer
//! that is ready becomes pending, nothing waits for the counting. What it saw stands among the figures
//! of each floor's status. It refuses to grow: the room that a probe takes is fixed.
//!
//! With `moderate` it also holds writes back, as its table of marks says: the answers to
//! batches and commits come a little later, or nothing new begins. A refusal is given before an address
//! is handed out, as `Unavailable` (or `Full`, where a medium fills up) with a time to try again. Only
//! that costs a ready answer its readiness, and only while the stage is `slow`.
//!
//! # What is served
//!
//! With `serve` a stack that is open for writing answers / (a page that draws the floors and shows all of it
//! live), /events (what the page shows, once a second, as server-sent events), /figures.json (the same once,
//! and the whole status), /health (200, or 503 and why writes are not accepted) and /metrics. Metrics are
//! those of [OpenMetrics](https://openmetrics.io):
//!
//! | name, after `travertine_` | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `calls_total` | counter | floor, verb | calls at the boundary on top of a floor |
//! | `call_bytes_total` | counter | floor, verb | bytes that they brought or fetched, or that a reclaim gave back |
//! | `errors_total` | counter | floor, verb, error | calls that failed, by the kind of error |
//! | `call_seconds` | histogram | floor, verb | times: of stores and reads those sampled, else all |
//! | `pending_calls`, `pending_calls_most` | gauge | floor | answers on their way, and the most ever |
//! | `written_bytes_total` | counter | at | written since the opening: `records`, `sent`, `bottoms` |
//! | `media_bytes` | gauge | | bytes that logs took since they were opened |
//! | `floor_figure` | gauge | at, figure | a floor's own figures, as `inspect` names them |
//! | `floor_up` | gauge | floor | 1, or 0 where a floor says why it accepts no writes |
//! | `floor_segments` | gauge | floor | segments on the media |
//! | `writes_accepted` | gauge | | 1, or 0 where /health says why not |
//! | `status_age_seconds` | gauge | | how old what floors say of themselves is |
//! | `slow_calls_total` | counter | | calls that took longer than `slow` |
//! | `stage` | gauge | | of moderation: 0 ok, 1 slow, 2 shed, 3 read-only |
//! | `stage_changes_total`, `refused_total`, `paused_total` | counter | | what moderation did |
//! | `dirty_bytes`, `replica_lag_bytes` | gauge | | what it measures |
//! | `commit_mean_seconds`, `fill_ratio`, `error_ratio` | gauge | | |
//!
//! `floor` is the number of a floor, counted from the one below the monitor; with it come `kind` and, if
//! the stack file gives one, `name`. `at` of `floor_figure` is the path of a floor in the status.

mod commits;
mod config;
mod figures;
mod histogram;
mod look;
mod moderate;
mod probe;
mod rules;
mod seen;
mod serve;
mod slow;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;

use travertine_engine::contract::{
    Batch, Commit, Epoch, Error, Level, Op, Result, Status, Store, Tail,
};
use travertine_engine::forward;
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, LevelRule, OpenContext, Plugin, PluginKind,
};

use self::commits::Commits;
use self::figures::Figures;
use self::look::Look;
use self::moderate::Moderator;
use self::probe::Watch;
use self::rules::Stage;
use self::serve::Server;
use self::slow::SlowLog;

pub use self::config::Monitor;

impl Plugin for Monitor {
    const KIND: PluginKind = PluginKind {
        summary: "counts and times every call at every boundary below it, tells of it, and holds \
                  writes back when what lies below is in trouble",
        cost: "a few nanoseconds a call and boundary, and 40 KiB of memory a boundary",
        doc: "Calls, bytes, errors and answers on their way are counted one by one; of stores and \
              reads one in `sample` is timed. The figures stand in the status of each floor. Bytes on \
              the media are the same with and without it. `moderate` is a table: for each of `fill`, \
              `dirty`, `sync`, `lag` and `errors` it says from where on writes are slowed, shed or \
              refused, like sync = { slow = \"50 ms\", shed = \"500 ms\" }.",
        options: config::OPTIONS,
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("monitor", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        let mut notes = Vec::new();
        if let Some(address) = self.serve()? {
            notes.push(format!(
                "while open for writing it serves http://{address}/metrics, /health, /figures.json, and a \
                 live page at http://{address}/"
            ));
        }
        if let Some(rules) = self.rules()? {
            notes.extend(rules.in_words());
        }
        Ok(notes)
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let wrong = |fault: Fault| Error::invalid(fault.to_string());
        let below = Below::only(below)?;
        let slow = self.slow.map(|from| Arc::new(SlowLog::new(from.0)));
        let env = &context.env;
        let watch = Watch::new(env, below.floor(), self.sample, slow.as_ref());
        let watch = Arc::new(watch);
        let floors = below.floor().walk().map(|(_, floor)| floor);
        let copies =
            floors.filter(|floor| matches!(floor.declared().level, LevelRule::Copies { .. }));
        let copies = copies.map(|floor| floor.kind().name).collect();
        let below = below.probed(watch.clone()).open()?;
        let look = Arc::new(Look::new(env, below.clone()));
        let moderator = self.rules().map_err(wrong)?.map(|rules| {
            let (watch, look) = (watch.clone(), look.clone());
            Arc::new(Moderator::new(env, rules, watch, look, copies))
        });
        // Who only reads may do so beside the writer, which has the address.
        let address = self.serve().map_err(wrong)?.filter(|_| !context.read_only);
        let commits = address.map(|_| Arc::new(Commits::new(env)));
        let (told, noted) = (moderator.clone(), commits.clone());
        let figures = Figures::new(env, &below, watch, look, slow, told, noted);
        let figures = Arc::new(figures);
        let server = address.map(|address| Server::start(env, address, figures.clone()));
        let server = server.transpose()?;
        let syncs = below.status().level.min(Level::Disk);
        Ok(Arc::new(MonitorStore {
            below,
            name: context.name.clone(),
            figures,
            moderator,
            commits,
            server,
            syncs,
        }))
    }
}

/// The floor itself: the probe right below it counts; what moderation wants of writes is done here.
#[derive(Debug)]
struct MonitorStore {
    below: Arc<dyn Store>,
    name: Option<String>,
    figures: Arc<Figures>,
    moderator: Option<Arc<Moderator>>,
    commits: Option<Arc<Commits>>,
    server: Option<Server>,
    /// A commit at this level leaves nothing to be lost.
    syncs: Level,
}

impl MonitorStore {
    /// A commit that goes below, and into the list of those that who looks is shown.
    fn noted(&self, commit: Commit) -> Op<Level> {
        let Some(commits) = &self.commits else {
            return self.below.commit(commit);
        };
        let going = commits.begins(&commit);
        self.below.commit(commit).shape(move |answer| {
            going.end(&answer);
            answer
        })
    }
}

impl Store for MonitorStore {
    forward!(below: read root fence adopt scan reclaim);

    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let Some(moderator) = &self.moderator else {
            return self.below.store(sender, batch);
        };
        moderator.stores(batch.bytes().len() as u64);
        moderator.paced(self.below.store(sender, batch))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let Some(moderator) = &self.moderator else {
            return self.noted(commit);
        };
        let lengths = commit.last.iter().map(|batch| batch.bytes().len() as u64);
        let committing = moderator.commits(lengths.sum(), commit.level >= self.syncs);
        let answer = self.noted(commit).shape(move |answer| {
            committing.end(&answer);
            answer
        });
        moderator.paced(answer)
    }

    fn status(&self) -> Status {
        let below = self.below.status();
        let figures = self.figures.own(&below);
        let mut status = Status::over(below, Monitor::KIND.name, self.name.clone());
        status.figures = figures;
        let port = self.server.iter().map(|server| server.address().port());
        status
            .figures
            .extend(port.map(|port| ("port", port.into())));
        if let Some(moderator) = &self.moderator {
            let (stage, why) = moderator.verdict();
            if stage == Stage::ReadOnly {
                status.refusing.get_or_insert(why);
            }
            status.gate = Some(moderator.clone());
        }
        status
    }

    fn close(&self) -> Op<()> {
        if let Some(server) = &self.server {
            server.stop();
        }
        self.below.close()
    }
}
