//! A device stalls, and the stack on it holds its writers back: slows them, sheds them, and lets them
//! through again. All of it in simulated time, so it runs in a moment and always in the same way.
//!
//! ```text
//!   writer ──> engine ── may this begin? ──> monitor     [layer.moderate] sync = { slow, shed }
//!                                              │
//!                                            stall       a kind of its own: commits take what it says
//!                                              │
//!                                            memory                       cargo run --example stalled
//!                                                                         cargo test --example stalled
//! ```

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use travertine::config::{Overrides, StackFile};
use travertine::conformance::env::SimEnv;
use travertine::contract::{Commit, Env, Kind, Level, Name, NewRecord, Op, Result, Status, Store};
use travertine::forward;
use travertine::front::{Change, Hint};
use travertine::stack::{Arity, Below, Declared, Fault, OpenContext, Plugin, PluginKind};

const STACK: &str = r#"
level = "memory"

[[layer]]
use = "monitor"

[layer.moderate]
pause = "20 ms"
dwell = "500 ms"
window = "2 s"
sync = { slow = "50 ms", shed = "400 ms" }

[[layer]]
use = "stall"

[[layer]]
use = "memory"
"#;

/// When the simulated device takes how long for a commit.
const STALLS: [(Duration, Duration); 4] = [
    (Duration::from_secs(0), Duration::from_millis(1)),
    (Duration::from_secs(5), Duration::from_millis(80)),
    (Duration::from_secs(10), Duration::from_secs(3)),
    (Duration::from_secs(15), Duration::from_millis(1)),
];
/// How long the writer writes, and how often.
const LASTS: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(200);

/// A floor whose commits take as long as [`STALLS`] says.
#[derive(Debug, serde::Deserialize)]
struct Stall {}

impl Plugin for Stall {
    const KIND: PluginKind = PluginKind {
        summary: "takes its time to commit",
        cost: "time",
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("stall", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Stalling {
            below: Below::only(below)?.open()?,
            env: context.env.clone(),
        }))
    }
}

#[derive(Debug)]
struct Stalling {
    below: Arc<dyn Store>,
    env: Env,
}

impl Store for Stalling {
    forward!(below: store read root fence adopt scan reclaim close);

    fn commit(&self, commit: Commit) -> Op<Level> {
        let now = Duration::from_nanos(self.env.clock.monotonic_ns());
        let stalls = STALLS.iter().rev().find(|(from, _)| *from <= now);
        self.env
            .clock
            .sleep(stalls.map_or(Duration::ZERO, |(_, takes)| *takes));
        self.below.commit(commit)
    }

    fn status(&self) -> Status {
        Status::over(self.below.status(), Stall::KIND.name, None)
    }
}

/// What one write of the writer came to.
#[derive(Debug)]
struct Seen {
    at: Duration,
    took: Duration,
    /// What was said of it: `None` if it was acknowledged.
    refused: Option<travertine::contract::Error>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.2?}  ", self.at)?;
        match &self.refused {
            None => write!(f, "written in {:?}", self.took),
            Some(error) => write!(f, "refused: {error}"),
        }
    }
}

/// Writes on and on. Who is refused tries again when he is told to.
fn write_on(sim: &SimEnv) -> std::result::Result<Vec<Seen>, Box<dyn Error>> {
    let registry = travertine::standard().with::<Stall>();
    let file = StackFile::parse(
        "stalled.toml",
        STACK,
        Path::new(""),
        &registry,
        &Overrides::none(),
    )?;
    let (_stack, engine) = file.engine(sim.env(), false)?;
    let now = || Duration::from_nanos(sim.env().clock.monotonic_ns());
    let mut seen = Vec::new();
    let mut written = 0;
    while now() < LASTS {
        let at = now();
        let write = || {
            let session = engine.session()?;
            let body = format!("entry {written}");
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[body.as_bytes()],
            };
            let entry = session.store(&record, Hint::default())?;
            let name = Name::new(format!("entry-{written}"))?;
            session.commit(&[Change::set(name, entry)], None).wait()
        };
        let refused = write().err();
        let wait = refused.as_ref().map(|error| error.retry_after());
        if refused.is_none() {
            written += 1;
        }
        seen.push(Seen {
            at,
            took: now() - at,
            refused,
        });
        sim.advance(wait.map_or(EVERY, |after| after.unwrap_or(EVERY)));
    }
    // Not one that was acknowledged is missing, whatever happened in between.
    assert_eq!(engine.snapshot().names().len(), written);
    engine.close()?;
    Ok(seen)
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    for seen in write_on(&SimEnv::new(1))? {
        println!("{seen}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use travertine::contract::ErrorKind;

    use super::*;

    #[test]
    fn writers_are_slowed_then_shed_then_let_through_again() {
        let seen = write_on(&SimEnv::new(1)).unwrap();
        let between = |from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            seen.iter()
                .filter(move |seen| (from..to).contains(&seen.at))
        };
        let written = |seen: &&Seen| seen.refused.is_none();
        let quick = |seen: &Seen| seen.took == Duration::from_millis(1);
        assert!(between(0, 5).all(quick));
        // 80 ms of the device, 20 ms of the pause.
        assert!(between(7, 10).all(|seen| seen.took == Duration::from_millis(100)));
        let shed: Vec<_> = between(10, 20)
            .filter_map(|seen| seen.refused.as_ref())
            .collect();
        assert!(shed.len() >= 4);
        for error in shed {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.retry_after(), Some(Duration::from_millis(500)));
        }
        assert!(between(20, 30).filter(written).count() > 40);
        assert!(between(20, 30).all(quick));
    }
}
