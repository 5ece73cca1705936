//! Wrong uses of the macros and of families, and what the compiler says about them: `tests/ui`, by trybuild.
//!
//! After a change of a message look at it, and take it over with `TRYBUILD=overwrite cargo test -p cache-macros --test ui`.

#[test]
fn messages_say_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
