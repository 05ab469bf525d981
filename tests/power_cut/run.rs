//! One run: loads that are stopped, recovered and cut off from power, and every image looked at.

use std::ops::AddAssign;
use std::sync::Arc;

use travertine_engine::conformance::rng::Rng;

use crate::child::{self, Ended, STACK};
use crate::disk::{Disk, Faults};
use crate::image::Image;
use crate::machine::{Machine, Taken, Watch};
use crate::mount::{Mounted, scratch};
use crate::names::Rule;
use crate::rows::{Rows, TREE};

/// Rows of one commit.
const BATCH: u64 = 20;
/// Events of a load, more or less, before it is stopped.
const EVENTS: u64 = 160;

/// A stack to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// Whether it stands the ruin of a page that is written again.
    pub(crate) ruins: bool,
}

/// What a number of runs saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) runs: u64,
    pub(crate) images: u64,
    /// Rows that were promised before an image, over all images.
    pub(crate) promised: u64,
    /// Rows that were there and had not been promised.
    pub(crate) beyond: u64,
    pub(crate) children: u64,
    pub(crate) stopped: u64,
    pub(crate) mapped: u64,
    pub(crate) faults: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.images += other.images;
        self.promised += other.promised;
        self.beyond += other.beyond;
        self.children += other.children;
        self.stopped += other.stopped;
        self.mapped += other.mapped;
        self.faults += other.faults;
    }
}

/// A run under way.
pub(crate) struct Run {
    stack: Stack,
    rows: Arc<Rows>,
    seed: u64,
    rng: Rng,
    rule: Rule,
    scale: u64,
    mounted: Mounted,
    /// What a load is told behind the stack file.
    load: String,
    /// What happened so far, for whoever reads of a failure.
    story: String,
    seen: Seen,
    _files: tempfile::TempDir,
}

impl Run {
    /// A run on an empty disk. `scale`: how many times the usual number of images it takes.
    pub(crate) fn new(stack: Stack, rows: Arc<Rows>, seed: u64, scale: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rule = [Rule::Strict, Rule::Journalled][rng.below_usize(2)];
        let image = Image::default().with(STACK, stack.text.as_bytes());
        let machine = Machine::new(Disk::new(rule, &image), stack.ruins, 0, rng.fork());
        let files = scratch();
        let csv = files.path().join("rows.csv");
        std::fs::write(&csv, &rows.csv).unwrap();
        let load = format!(
            "{} --tree {TREE} --key k --batch {BATCH} --ack --resume",
            csv.display()
        );
        Self {
            stack,
            rows,
            seed,
            rng,
            rule,
            scale,
            mounted: Mounted::new(machine),
            load,
            story: format!("SEED={seed}, {}, {rule:?} names", stack.name),
            seen: Seen {
                runs: 1,
                ..Seen::default()
            },
            _files: files,
        }
    }

    /// Loads that are killed, one after the other on one disk, then a power cut, then more of it.
    pub(crate) fn kills_and_power_cuts(mut self) -> Seen {
        self.loads(4, true);
        self.counts(2);
        self.loads(3, true);
        let taken = self.look();
        self.power_cut(taken);
        self.counts(1);
        let to_the_end = self.rng.chance(1, 2);
        self.loads(3, !to_the_end);
        self.look();
        self.seen
    }

    /// A write or an fsync fails on the way; after a failed fsync, what it
    /// dropped is shown on. The same disk is then recovered and loaded to the end.
    pub(crate) fn a_call_fails(mut self) -> Seen {
        let nth = Some(1 + self.rng.below(EVENTS / 3));
        let mut faults = Faults::default();
        match self.rng.below(4) {
            0 => faults.write = nth,
            1 => faults.sync = nth,
            _ => faults.data_sync = nth,
        }
        self.story.push_str(&format!(", {faults:?}"));
        self.fails_then_goes_on(faults, "")
    }

    /// The disk is full, and then it is not.
    pub(crate) fn no_room(mut self) -> Seen {
        // Not enough for the claim of a first segment, or for that of a later one.
        let room = match self.rng.chance(1, 2) {
            true => (64 << 10) + self.rng.below(500_000),
            false => (10 << 20) + self.rng.below(16 << 20),
        };
        let faults = Faults {
            room: Some(room),
            ..Faults::default()
        };
        self.story.push_str(&format!(", {faults:?}"));
        self.fails_then_goes_on(faults, "error: full: ")
    }

    fn fails_then_goes_on(mut self, faults: Faults, complaint: &str) -> Seen {
        let story = self.story.clone();
        self.mounted.machine.faults(faults);
        let ended = self.child("load", &self.load.clone(), 3, false);
        let tally = self.mounted.machine.tally();
        self.seen.faults += u64::from(tally.failed + tally.refused > 0);
        match ended.code {
            Some(0) => assert_eq!(
                self.mounted.machine.promised(),
                self.rows.len(),
                "{story}: all is well, says the load: {}",
                ended.complaint
            ),
            Some(1) => {
                assert!(tally.failed + tally.refused > 0, "{story}: {ended:?}");
                assert!(ended.complaint.contains(complaint), "{story}: {ended:?}");
            }
            _ => panic!("{story}: {ended:?}"),
        }
        // What it left can be read, on the full disk too.
        let ended = self.child("count", &format!("--tree {TREE}"), 1, false);
        if self.mounted.machine.promised() > 0 {
            assert_eq!(ended.code, Some(0), "{story}: {ended:?}");
        }
        self.mounted.machine.faults(Faults::default());
        self.counts(1);
        self.loads(3, false);
        self.look();
        self.seen
    }

    /// A child at work, with images on the way and at its end.
    fn child(&mut self, command: &str, rest: &str, moments: u64, stops: bool) -> Ended {
        let events = match command {
            "count" => 12,
            _ => EVENTS,
        };
        let stop_at = stops.then(|| 1 + self.rng.below(events));
        let moments = moments * self.scale;
        let watch = Watch {
            one_in: stop_at.unwrap_or(events) / moments + 1,
            moments: moments as usize,
            stop_at,
        };
        let ended = child::run(&self.mounted, command, rest, watch);
        self.mounted
            .machine
            .take(&format!("after {command}, {:?}", ended.code));
        self.seen.children += 1;
        self.seen.stopped += u64::from(ended.code.is_none());
        self.seen.mapped += u64::from(ended.mapped);
        assert!(
            !ended.complaint.contains("panicked"),
            "{}: {ended:?}",
            self.story
        );
        ended
    }

    fn loads(&mut self, moments: u64, stops: bool) {
        let load = self.load.clone();
        let ended = self.child("load", &load, moments, stops);
        if ended.code.is_none() && stops {
            return;
        }
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", self.story);
        assert_eq!(
            self.mounted.machine.promised(),
            self.rows.len(),
            "{}: {ended:?}",
            self.story
        );
    }

    /// Whoever counts recovers first; the number that it prints is a promise.
    fn counts(&mut self, moments: u64) {
        let stops = self.rng.chance(1, 3);
        let ended = self.child("count", &format!("--tree {TREE}"), moments, stops);
        let fine = match ended.code {
            Some(code) => code == 0 || self.mounted.machine.promised() == 0,
            None => stops,
        };
        assert!(fine, "{}: {ended:?}", self.story);
    }

    /// Judges all images so far.
    fn look(&mut self) -> Vec<Taken> {
        let taken = self.mounted.machine.taken();
        for one in &taken {
            match self.rows.judge(one, &mut self.rng) {
                Ok(rows) => self.seen.beyond += rows - one.promised,
                Err(wrong) => panic!(
                    "{}: {wrong}\nagain: SEED={} cargo test --test power_cut",
                    self.story, self.seed
                ),
            }
            self.seen.images += 1;
            self.seen.promised += one.promised;
        }
        taken
    }

    /// The power goes, at one of these moments: what is left is a disk, and goes on.
    fn power_cut(&mut self, taken: Vec<Taken>) {
        let Some(one) = self.rng.pick(&taken) else {
            return;
        };
        self.story.push_str(&format!("; cut: {}", one.moment));
        let disk = Disk::new(self.rule, &one.image);
        let machine = Machine::new(disk, self.stack.ruins, one.promised, self.rng.fork());
        self.mounted = Mounted::new(machine);
    }
}
