//! Promise 9: nobody sees a circle of session locks; a timeout ends it.

use dlock_tests::Way;

use super::{Backend, Failure, Outcome, Scene};

pub(crate) async fn crossed_locks_end_with_a_timeout<B: Backend>(scene: &Scene<B>) -> Outcome {
    let mut first = Vec::new();
    // A noisy machine can only make it later.
    for _ in 0..4 {
        let (a, b) = (scene.key(), scene.key());
        first.push(crossed(scene, a, b).await?);
        if first.last().is_some_and(|first| *first <= 2250) {
            return Ok(());
        }
    }
    Err(Failure::new(format!("never within 2.25 s: {first:?}")))
}

/// How long the first of two processes waited, each for what the other holds.
async fn crossed<B: Backend>(scene: &Scene<B>, a: i64, b: i64) -> Outcome<u128> {
    let (mut one, mut two) = (scene.peer("one").await?, scene.peer("two").await?);
    one.hold(a, Way::PLAIN).await?;
    two.hold(b, Way::PLAIN).await?;
    one.order(format!("acquire {b} {} 2000", Way::PLAIN))
        .await?;
    two.order(format!("acquire {a} {} 2000", Way::PLAIN))
        .await?;
    let mut waits = Vec::new();
    for peer in [&mut one, &mut two] {
        peer.expect("waiting").await?;
        let answer = peer.answer().await?;
        let waited = answer.strip_prefix("timeout ");
        let waited = waited.ok_or_else(|| Failure::new(format!("no timeout: {answer}")))?;
        waits.push(waited.parse::<u128>()?);
    }
    let first = waits.iter().min().copied().unwrap_or_default();
    assert!(first >= 2000, "{waits:?}");
    // What they held before is theirs still, and nothing else.
    assert_eq!(scene.held(&[a, b]).await?, 2);
    one.release(a).await?;
    two.release(b).await?;
    scene.until_free(a).await?;
    scene.until_free(b).await?;
    Ok(first)
}
