//! What the compiler says to those who make a mistake: one error, at their own words, that says what to write.

#[test]
fn mistakes() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/with_dlock/*.rs");
}
