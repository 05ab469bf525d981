//! What a stack file may say of a monitor, at its bounds and past them.

use std::path::Path;

use travertine_engine::stack::{Layer, Plan, Spec, Table, Value};

use crate::standard;

fn plan(monitor: Layer) -> Result<Plan, String> {
    let layers = vec![monitor, Layer::new("memory")];
    let plan = Plan::new(
        &Spec::linear(layers).level("memory"),
        &standard(),
        Path::new("/"),
    );
    plan.map_err(|errors| errors[0].message.clone())
}

fn with(option: &str, value: impl Into<Value>) -> Result<Plan, String> {
    plan(Layer::new("monitor").with(option, value))
}

fn moderated(option: &str, value: impl Into<Value>) -> Result<Plan, String> {
    let shed = Table::default().with("shed", "1 s");
    let table = Table::default().with("sync", shed).with(option, value);
    with("moderate", table)
}

#[test]
fn each_option_takes_what_lies_within_its_bounds_and_nothing_past_them() {
    for least_and_most in [1, 1_000_000] {
        assert!(with("sample", least_and_most).is_ok());
    }
    for past in [0, 1_000_001] {
        assert!(with("sample", past).is_err());
    }
    for least_and_most in ["1 us", "1 h"] {
        assert!(with("slow", least_and_most).is_ok());
    }
    for past in ["999 ns", "3601 s"] {
        assert!(with("slow", past).is_err());
    }
    for (option, least, less, most, more) in [
        ("pause", "10 us", "9 us", "1 s", "1001 ms"),
        ("dwell", "10 ms", "9 ms", "600 s", "601 s"),
        ("window", "100 ms", "99 ms", "600 s", "601 s"),
    ] {
        assert!(moderated(option, least).is_ok(), "{option}");
        assert!(moderated(option, most).is_ok(), "{option}");
        assert!(moderated(option, less).is_err(), "{option}");
        assert!(moderated(option, more).is_err(), "{option}");
    }
    assert!(moderated("leave", 0.1).is_ok() && moderated("leave", 0.99).is_ok());
    assert!(moderated("leave", 0.09).is_err() && moderated("leave", 1.0).is_err());
}

#[test]
fn marks_have_bounds_of_their_own() {
    let rule = |rule: &str, mark: Value| {
        let marks = Table::default().with("shed", mark);
        with("moderate", Table::default().with(rule, marks)).is_ok()
    };
    for share in ["fill", "errors"] {
        assert!(rule(share, 0.001.into()) && rule(share, 1.into()));
        assert!(!rule(share, 0.0009.into()) && !rule(share, 1.01.into()));
    }
    for size in ["dirty", "lag"] {
        assert!(rule(size, "4 KiB".into()) && rule(size, "1024 TiB".into()));
        assert!(!rule(size, "4095 B".into()) && !rule(size, "1025 TiB".into()));
    }
    assert!(rule("sync", "10 us".into()) && rule("sync", "10 min".into()));
    assert!(!rule("sync", "9 us".into()) && !rule("sync", "601 s".into()));
}

#[test]
fn marks_must_get_worse_and_there_must_be_one() {
    let error = with("moderate", Table::default()).unwrap_err();
    assert!(error.contains("says no mark"), "{error}");
    let marks = |slow: &str, shed: &str, read_only: &str| {
        let marks = Table::default()
            .with("slow", slow)
            .with("shed", shed)
            .with("read_only", read_only);
        with("moderate", Table::default().with("sync", marks))
    };
    assert!(marks("10 ms", "20 ms", "30 ms").is_ok());
    for (slow, shed, read_only) in [
        ("20 ms", "20 ms", "30 ms"),
        ("10 ms", "30 ms", "20 ms"),
        ("40 ms", "50 ms", "30 ms"),
    ] {
        let error = marks(slow, shed, read_only).unwrap_err();
        assert!(error.contains("must be more than"), "{error}");
    }
}

#[test]
fn what_other_machines_can_ask_is_served_only_where_that_is_said() {
    for address in ["127.0.0.1:9464", "[::1]:9464", "127.0.0.2:0"] {
        assert!(with("serve", address).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:9464", "192.0.2.1:80", "[::]:1"] {
        let error = with("serve", address).unwrap_err();
        assert!(error.contains("other machines"), "{error}");
        let said = Layer::new("monitor").with("serve", address);
        assert!(plan(said.with("serve_public", true)).is_ok(), "{address}");
    }
    for address in ["", "localhost:9464", "127.0.0.1", "127.0.0.1:65536", "9464"] {
        let error = with("serve", address).unwrap_err();
        assert!(error.contains("no address with a port"), "{error}");
    }
}

#[test]
fn only_the_topmost_monitor_moderates() {
    let marks = Table::default().with("shed", "1 s");
    let moderating = Layer::new("monitor").with("moderate", Table::default().with("sync", marks));
    let layers = vec![
        moderating.clone(),
        Layer::new("monitor"),
        Layer::new("memory"),
    ];
    assert!(
        Plan::new(
            &Spec::linear(layers).level("memory"),
            &standard(),
            Path::new("/")
        )
        .is_ok()
    );
    let layers = vec![Layer::new("monitor"), moderating, Layer::new("memory")];
    let errors = Plan::new(
        &Spec::linear(layers).level("memory"),
        &standard(),
        Path::new("/"),
    )
    .unwrap_err();
    assert!(
        errors[0].message.contains("topmost"),
        "{}",
        errors[0].message
    );
}

#[test]
fn the_plan_says_where_it_serves_and_when_it_holds_back() {
    let plan = with("serve", "127.0.0.1:9464").unwrap();
    let notes = plan.top().notes().join("\n");
    assert!(notes.contains("http://127.0.0.1:9464/metrics"), "{notes}");
    let notes = moderated("pause", "1 ms").unwrap().top().notes().join("\n");
    assert_eq!(notes, "shed when a commit takes 1.0s");
}
