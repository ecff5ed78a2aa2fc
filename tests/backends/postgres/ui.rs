//! What the compiler says to those who ask for what cannot be.

#[test]
fn the_compiler_names_both_ways_out() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
}

#[test]
fn what_python_raises_an_error_for_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/parity/*.rs");
}
