//! Power cuts on a file system that loses what was not synced.
//!
//! ```text
//!   travertine load ──> kernel ──> our file system ──> images: what a power cut may leave
//!        └── acknowledgements, in order with all writes ──┘          │
//!                       each is opened, read, recovered, verified <──┘
//! ```
//!
//! The disk is simulated and everything above it is real: the kernel's page cache, its maps, its
//! directories, and processes that are killed. What was acknowledged before an image was taken has to
//! be in it.
//!
//! Needs `/dev/fuse` and `fusermount3`; without them the tests print `skipped: needs fusermount3`,
//! which the gate turns into a failure. `SEED=n` makes one run of each kind again,
//! `TRAVERTINE_SEEDS=n` so many, and `TRAVERTINE_SOAK` fifty times as many runs with twice the images.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

mod child;
mod disk;
mod file;
mod fs;
mod idle;
mod image;
mod machine;
mod mount;
mod names;
mod raw;
mod rows;
mod run;
#[path = "../desk/tools.rs"]
mod tools;

use std::sync::Arc;

use names::Rule;
use rows::Rows;
use run::{Run, Seen, Stack};

const ONE_FILE: Stack = Stack {
    name: "one file",
    text: "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"64 KiB\"\n",
    ruins: true,
};

const COPYING: Stack = Stack {
    name: "one file that copies, grows by need and overwrites",
    text: "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"128 KiB\"\nread = \"pread\"\n\
           grow = \"none\"\noverwrite = \"safe\"\n",
    ruins: false,
};

const SEQUENCE: Stack = Stack {
    name: "a sequence of files",
    text: "[[layer]]\nuse = \"sequence\"\nsegment = \"64 KiB\"\n\n\
           [[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"64 KiB\"\n",
    ruins: true,
};

const CACHED: Stack = Stack {
    name: "a cached and monitored sequence of files",
    text: "[[layer]]\nuse = \"monitor\"\n\n[[layer]]\nuse = \"cache\"\nmemory = \"1 MiB\"\n\n\
           [[layer]]\nuse = \"sequence\"\nsegment = \"256 KiB\"\n\n\
           [[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"64 KiB\"\ngrow = \"none\"\n",
    ruins: true,
};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn here() -> bool {
    if !mount::kernel_can_mount() {
        // No tool that could be installed.
        println!("skipped: needs /dev/fuse");
        return false;
    }
    tools::have("fusermount3", mount::can_mount())
}

/// Runs of one kind on one stack, so many unless told otherwise.
fn runs(stack: Stack, usual: u64, kind: fn(Run) -> Seen) {
    if !here() {
        return;
    }
    let soak = std::env::var_os("TRAVERTINE_SOAK").is_some();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None if soak => 0..usual * 50,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(usual),
    };
    let rows = Arc::new(Rows::new(900));
    let mut seen = Seen::default();
    for seed in seeds {
        seen += kind(Run::new(stack, rows.clone(), seed, 1 + u64::from(soak)));
    }
    println!("{}: {seen:?}", stack.name);
    if seen.stopped > 0 && seen.mapped == 0 {
        println!("no child that was stopped had the log mapped: reads were copies here");
    }
    // What never happened was not tested.
    let enough = seen.images > 10 * seen.runs && seen.promised > 0;
    assert!(enough || seen.runs < 2, "{seen:?}");
}

#[test]
fn power_cuts_lose_nothing_acknowledged_on_one_file() {
    runs(ONE_FILE, 5, Run::kills_and_power_cuts);
}

#[test]
fn power_cuts_lose_nothing_acknowledged_on_a_file_without_maps() {
    runs(COPYING, 5, Run::kills_and_power_cuts);
}

#[test]
fn power_cuts_lose_nothing_acknowledged_on_a_sequence() {
    runs(SEQUENCE, 5, Run::kills_and_power_cuts);
}

#[test]
fn power_cuts_lose_nothing_acknowledged_under_a_cache() {
    runs(CACHED, 5, Run::kills_and_power_cuts);
}

#[test]
fn a_failed_write_or_fsync_loses_nothing_acknowledged() {
    runs(ONE_FILE, 6, Run::a_call_fails);
    runs(SEQUENCE, 4, Run::a_call_fails);
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_goes_on_when_it_is_freed() {
    runs(ONE_FILE, 3, Run::no_room);
    runs(SEQUENCE, 2, Run::no_room);
}

#[test]
fn images_show_what_careless_programs_lose() {
    if !here() {
        return;
    }
    raw::a_program_that_never_syncs_loses_all(Rule::Strict);
    raw::a_program_that_never_syncs_loses_all(Rule::Journalled);
    raw::a_program_that_forgets_the_directory_loses_all_unless_the_journal_helps();
    raw::a_failed_fsync_that_is_tried_again_loses_what_was_dropped();
    raw::a_rename_before_the_content_shows_an_empty_file();
    raw::a_long_write_is_torn();
    raw::a_full_disk_says_so_until_there_is_room();
}

#[test]
fn images_keep_what_a_careful_program_synced() {
    if !here() {
        return;
    }
    raw::a_careful_program_loses_nothing();
}
