//! The rules of the tree, held on the tree.

#[test]
fn the_tree_is_tidy() {
    let report = xtask::tidy::check(xtask::testing::root()).unwrap();
    let lines: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}
