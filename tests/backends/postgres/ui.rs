//! What the compiler says to those who ask a transaction or a lock pool for what it cannot do.

#[test]
fn the_compiler_names_both_ways_out() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
}
