//! The bytes of `docs/chain.md`: a linked chain of blocks of two, three entries, the first trimmed.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn records_of_a_chain_have_these_golden_bytes() {
    let mut twin = Twin::new(Heap::new(), options(2, true));
    twin.push([b"ab".to_vec(), vec![7; 41], b"c".to_vec()]);
    twin.trim(1);
    let read = |reference: Option<Reference>| twin.heap.read(&reference.unwrap()).wait().unwrap();
    let root = read(twin.root);
    let node = read(root.reference(0));
    let (block, part) = (read(node.reference(0)), read(root.reference(1)));
    let found = [&root, &node, &block, &part].map(|record| hex(record.body()));
    let golden = [
        concat!(
            "0101010002000000",
            "0100000000000000",
            "0300000000000000",
            "0200000000000000",
            "0100000000000000",
            "d143ceda142216738b46e140314e4951e94a6a12174d93713bb64507b59b295f",
            "0000",
        ),
        "01000000000000000000000000000000",
        concat!(
            "0101000002000000",
            "0000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "020000002a000080",
            "6162",
            "2900000000000000",
            "e2532c0866c9a96c85f52e39a9cbe9cc2e59ce3cbd88dfbf6720a58834906b4c",
        ),
        concat!(
            "0103000001000000",
            "0200000000000000",
            "4423b2df2ed88e76d5b7e8b12cf1b12ea03b72989ff4a1139fcf0d88cfcbfd16",
            "01000000",
            "63",
        ),
    ];
    assert_eq!(found, golden);
    assert_eq!((root.reference_count(), part.reference_count()), (2, 1));
    assert!(part.reference(0).unwrap().weak, "the block before it");
}
