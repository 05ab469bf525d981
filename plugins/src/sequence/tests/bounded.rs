//! What opening again costs: it must not depend on how much there is.

use super::*;

/// Calls of the medium, reads and bytes read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    calls: u64,
    reads: u64,
    bytes: u64,
}

/// A sequence of so many records, each with a commit.
fn grown(spec: &Spec, records: u64) -> (OnDisk, SimEnv, Engine) {
    let (on, env) = OnDisk::calm(spec);
    let engine = on.write(&env).unwrap();
    fill(&engine, 0..records);
    (on, env, engine)
}

/// What it costs to open it and to read what the newest commit leads to.
fn opening(on: &OnDisk, env: &SimEnv, records: u64) -> Cost {
    let before = on.disk.tally();
    let engine = on.write(env).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.sequence(), records);
    let newest = snapshot.root(&Name::new("it").unwrap()).unwrap();
    reads(&engine, records - 1, &newest).unwrap();
    let after = on.disk.tally();
    Cost {
        calls: after.calls - before.calls,
        reads: after.reads - before.reads,
        bytes: after.bytes_read - before.bytes_read,
    }
}

/// The same shape of the last part each time, so that only what lies before it differs.
const SIZES: [u64; 4] = [100, 400, 1600, 3200];

#[test]
fn opening_after_a_clean_close_costs_the_same_however_many_parts_there_are() {
    let mut costs = Vec::new();
    for records in SIZES {
        let (on, env, engine) = grown(&over_one(), records);
        let parts = figure(&engine, "parts");
        assert!(parts >= records / 20, "{parts} parts of {records} records");
        engine.close().unwrap();
        costs.push(opening(&on, &env, records));
    }
    println!("{costs:?}");
    // Where the newest commit lies in its part may cost a read more or less.
    let most = |of: fn(&Cost) -> u64| costs.iter().map(of).max().unwrap();
    assert!(most(|cost| cost.calls) <= 40, "{costs:?}");
    assert!(most(|cost| cost.reads) <= 16, "{costs:?}");
    assert!(most(|cost| cost.bytes) <= 32 << 10, "{costs:?}");
    assert!(
        costs[3].calls <= costs[0].calls + 4 && costs[3].reads <= costs[0].reads + 2,
        "{costs:?}"
    );
}

#[test]
fn opening_after_a_crash_costs_the_open_part_however_many_there_are() {
    let mut costs = Vec::new();
    for records in SIZES {
        let (on, env, engine) = grown(&over_one(), records);
        drop(engine);
        on.disk.power_cut();
        costs.push(opening(&on, &env, records));
    }
    println!("{costs:?}");
    for cost in &costs {
        // A part is some 72 KiB long here, of two segments; each byte is read at most a few times: to
        // find the end, to look for marks behind it, and to write it anew.
        assert!(cost.calls <= 120 && cost.reads <= 60, "{costs:?}");
        assert!(cost.bytes <= 512 << 10, "{costs:?}");
    }
}

#[test]
fn opening_a_list_costs_its_length_and_not_what_lies_in_it() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let mut costs = Vec::new();
    // The same number of stacks in use, and of segments in the last: what differs is their length.
    for segment in ["128 KiB", "512 KiB", "2 MiB"] {
        let spec = over_these(sequence(segment), &NAMES);
        let length = spec.layers[0].options.get("segment").unwrap();
        let bytes: travertine_engine::stack::ByteSize = length.as_text().unwrap().parse().unwrap();
        let records = 5 * bytes.0 / 5_000;
        let (on, env, engine) = grown(&spec, records);
        assert!(figure(&engine, "parts") >= 3);
        engine.close().unwrap();
        costs.push(opening(&on, &env, records));
    }
    println!("{costs:?}");
    let calls: Vec<_> = costs.iter().map(|cost| cost.calls).collect();
    assert!(
        calls
            .iter()
            .all(|calls| calls.abs_diff(costs[0].calls) <= 8),
        "{costs:?}"
    );
    assert!(costs.iter().all(|cost| cost.bytes <= 32 << 10), "{costs:?}");
}
