//! `reclaim --compact`: the same rows in fewer bytes.

mod desk;

use desk::Desk;

#[test]
fn a_compacted_store_holds_the_same_rows_in_fewer_bytes() {
    let desk = Desk::new();
    let rows = |from: u32, step: usize| -> String {
        let rows = (from..3_000).step_by(step);
        rows.map(|n| format!("{:06},{}\n", n * 7_919 % 1_000_000, "x".repeat(120)))
            .collect()
    };
    desk.file("all.csv", format!("k,v\n{}", rows(0, 1)));
    desk.ok("load s.toml all.csv --tree a --key k --batch 200");
    desk.file("half.csv", format!("k,v\n{}", rows(0, 2).replace('x', "y")));
    desk.ok("load s.toml half.csv --tree a --key k --batch 200");
    desk.ok("put s.toml --tree b only one");
    let before = desk.run("scan s.toml --tree a").out;
    let told = desk.ok("reclaim s.toml --retain newest --compact --json");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(desk.run("scan s.toml --tree a").out, before);
    assert_eq!(desk.run("get s.toml --tree b only").out, b"one");
    // 3,000 rows of some 150 bytes each, in full nodes.
    assert!(told["bytes_kept"].as_u64().unwrap() < 3_000 * 170, "{told}");
    desk.ok("verify s.toml");
}
