//! The soak of reclaim, for some seconds and with a few kills. `TRAVERTINE_SOAK` says for how many
//! minutes, with as many kills as a full one has in that time.

use std::process::Command;

use serde_json::Value;

fn soak(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
    command.args(line.split(' '));
    command
}

#[test]
fn nothing_acknowledged_is_lost_while_space_is_given_back_under_kills() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name);
    let minutes = std::env::var("TRAVERTINE_SOAK").ok();
    let minutes: Option<f64> = minutes.map(|text| text.parse().unwrap());
    let line = match minutes {
        None => "reclaim --minutes 0.12 --kills 5 --rows 20000".to_owned(),
        Some(minutes) => {
            let kills = (minutes * 200.0 / 30.0).ceil();
            format!("reclaim --minutes {minutes} --kills {kills}")
        }
    };
    let mut command = soak(&line);
    command.arg("--json").arg(file("figures"));
    command.arg("--report").arg(file("page.html"));
    let said = command.output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{words}");
    let figures = std::fs::read_to_string(file("figures")).unwrap();
    let ended: Value = serde_json::from_str(figures.lines().last().unwrap()).unwrap();
    assert!(ended["checks"].as_u64().unwrap() > 0, "{ended}");
    let page = std::fs::read_to_string(file("page.html")).unwrap();
    assert!(
        page.ends_with("</html>\n") && page.contains("<svg"),
        "{page}"
    );
}

#[test]
fn overwrites_and_their_bytes_are_counted() {
    let said = soak("overwrite --rows 5000 --times 2").output().unwrap();
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let counted = "amplification --rows 5000 --batch 50 --before 2 --batches 5";
    let said = soak(counted).output().unwrap();
    let words = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.status.success() && words.contains("for each byte given"),
        "{words}"
    );
}

#[test]
fn rows_that_were_loaded_in_any_order_are_read_back() {
    for order in ["--batch 700", "--in-order"] {
        let line = format!("large --rows 5000 {order} --cache 64KiB --readers 3");
        let said = soak(&line).output().unwrap();
        let words = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.status.success() && words.starts_with("5000 rows"),
            "{words}"
        );
    }
}
