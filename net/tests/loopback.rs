//! An engine on a stack that goes on in a server on loopback.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod rig;

use rig::{Served, body, commit, engine, file, memory, open, over, plan_of, remote};
use travertine_engine::contract::{Env, ErrorKind};
use travertine_engine::stack::Spec;

#[test]
fn an_engine_opens_commits_and_reads_back_over_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
    {
        let engine = engine(open(&over(served.address)).unwrap()).unwrap();
        for number in 0..50_u32 {
            commit(&engine, &format!("name-{number}"), &number.to_le_bytes()).unwrap();
        }
        commit(&engine, "large", &vec![7; 3 << 20]).unwrap();
        assert_eq!(body(&engine, "name-7").unwrap(), 7_u32.to_le_bytes());
        engine.close().unwrap();
    }
    // Another engine finds it, and so does one at home once the server is gone.
    {
        let engine = engine(open(&over(served.address)).unwrap()).unwrap();
        assert_eq!(body(&engine, "large").unwrap(), vec![7; 3 << 20]);
        commit(&engine, "more", b"of the second").unwrap();
        engine.close().unwrap();
    }
    served.service.close().unwrap();
    drop(served);
    let home = engine(open(&file(directory.path())).unwrap()).unwrap();
    assert_eq!(body(&home, "name-49").unwrap(), 49_u32.to_le_bytes());
    assert_eq!(body(&home, "more").unwrap(), b"of the second");
}

#[test]
fn a_server_that_gives_less_than_is_expected_is_refused_with_blame() {
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let error = open(&over(served.address)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.contains("`persists`") && text.contains("`memory`"),
        "{text}"
    );

    let less = remote(served.address)
        .with("level", "memory")
        .with("expects", "fences, proves absence, one stream");
    let plan = plan_of(Spec::linear([less]).level("memory"), "/".as_ref());
    let engine = engine(open(&plan).unwrap()).unwrap();
    commit(&engine, "it", b"is there").unwrap();
    assert_eq!(body(&engine, "it").unwrap(), b"is there");
}
