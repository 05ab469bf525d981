//! What a sequence tells of its parts.

use travertine_engine::contract::{PartState, PartStatus};

use super::*;

fn parts(engine: &Engine) -> Vec<PartStatus> {
    engine.status().below[0].parts.clone()
}

fn states(parts: &[PartStatus]) -> Vec<PartState> {
    parts.iter().map(|part| part.state).collect()
}

/// Checks that each part begins where the one before ends, and returns where the last one does.
fn adjoin(parts: &[PartStatus]) -> u64 {
    let mut at = 0;
    for part in parts.iter().filter(|part| part.begins.is_some()) {
        assert_eq!(part.begins, Some(at), "{part:?}");
        at = part.ends.unwrap();
    }
    at
}

#[test]
fn each_part_tells_how_far_its_life_has_come() {
    for spec in [
        over_one(),
        over_these(sequence("64 KiB"), &["a", "b", "c", "d", "e"]),
    ] {
        let (on, env) = OnDisk::calm(&spec);
        let engine = on.write(&env).unwrap();
        fill(&engine, 0..54);
        let told = parts(&engine);
        let names: Vec<_> = told.iter().map(|part| part.name.as_str()).collect();
        let numbers = (1..=told.len()).map(|number| format!("part-{number:06}"));
        assert_eq!(names, numbers.collect::<Vec<_>>());
        let active = told.iter().position(|part| part.state == PartState::Active);
        let active = active.unwrap();
        // Three parts have ended, and nothing new is proven since the last of them did, at worst.
        assert_eq!(active, 3, "{told:?}");
        assert_eq!(states(&told[..2]), [PartState::Sealed; 2]);
        assert!([PartState::Sealed, PartState::Synced].contains(&told[2].state));
        assert!(told[4..].iter().all(|part| part.state == PartState::Next));
        assert_eq!(adjoin(&told), engine.status().streams[0].end);
        let newest = |part: &PartStatus| part.marker.unwrap() < part.ends.unwrap();
        assert!(told[..4].iter().all(newest), "{told:?}");
        assert!(told[0].bytes.unwrap() >= 64 << 10);
        assert!(told[..4].iter().all(|part| part.epoch == Some(1)) || told[2].epoch.is_none());
        engine.close().unwrap();
        let reader = on.read(&env).unwrap();
        let told = parts(&reader);
        assert_eq!(states(&told[..4])[..2], [PartState::Sealed; 2]);
        assert_eq!(told[3].state, PartState::Active);
        adjoin(&told);
    }
}

#[test]
fn a_part_that_is_not_there_is_told_as_lost() {
    let (on, env) = OnDisk::calm(&over_one());
    let engine = on.write(&env).unwrap();
    let references = fill(&engine, 0..70);
    engine.close().unwrap();
    drop(engine);
    on.disk.rename_within("data/part-000002", Some("aside"));
    let engine = on.write(&env).unwrap();
    // Nobody knows of it before somebody looks.
    assert_eq!(parts(&engine)[1].state, PartState::Sealed);
    assert!(
        references
            .iter()
            .any(|of| engine.read(of.oid).wait().is_err())
    );
    assert_eq!(parts(&engine)[1].state, PartState::Lost);
    on.disk.rename_within("aside", Some("data/part-000002"));
    all_read(&engine, &references);
    assert_eq!(parts(&engine)[1].state, PartState::Sealed);
    engine.close().unwrap();
    drop(engine);
    // Where the catalogue lost them as well, the gap between the others tells.
    let shelf = on.disk.medium().within("data");
    for name in shelf.list().unwrap() {
        if name.starts_with("sealed-000002") || name.starts_with("sealed-000003") {
            shelf.remove(&name).unwrap();
        }
    }
    let engine = on.write(&env).unwrap();
    let told = parts(&engine);
    assert_eq!(
        (told[1].name.as_str(), told[1].state),
        ("part-000002 to part-000003", PartState::Lost)
    );
    assert_eq!(told[1].ends, told[2].begins);
}
