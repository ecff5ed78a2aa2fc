//! From a behaviour to a test.

/// Writes a test for each behaviour in a list. `$suite` is the module that has the topics. The
/// brackets are empty, or hold the `#[ignore = ".."]` of a list that does not apply to the backend.
macro_rules! mount {
    ($suite:ident, $backend:ty, $ignored:tt: $($topic:ident { $($behaviour:ident)* })*) => {
        $($(
            $crate::suite::mount! { $suite, $backend, $ignored, $topic::$behaviour }
        )*)*
    };
    ($suite:ident, $backend:ty, [$($ignored:tt)*], $topic:ident::$behaviour:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($ignored)*
        async fn $behaviour() -> $crate::suite::Outcome {
            let scene = $crate::suite::Scene::<$backend>::open().await?;
            $crate::$suite::$topic::$behaviour(&scene).await?;
            scene.is_left_clean().await
        }
    };
}
pub(crate) use mount;

/// Fails to compile where a mount and its backend disagree: a reason is given for each capability
/// that the backend lacks, and for no other.
pub(crate) const fn check(has_capability: bool, reasons: &[&str]) {
    assert!(
        has_capability || !reasons.is_empty(),
        "the backend lacks this capability: give the reason in the mount (`without ..`)"
    );
    assert!(
        !has_capability || reasons.is_empty(),
        "the backend has this capability: remove `without ..` from the mount"
    );
}
