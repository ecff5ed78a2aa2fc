//! Requests that come soon after an answer travel together.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

use super::Engine;
use crate::engine::machine::SessionId;

/// Requests are gathered for about as long as their statement takes.
const GATHERING: Duration = Duration::from_micros(500);

/// Lets the callers run that were answered, so that their next requests travel together. A runtime
/// runs only some of them at a time: so it goes on as long as any of them asks for something, within
/// bounds, since the runtime may be busy with other work.
pub(super) async fn gather(engine: &Arc<Engine>, id: SessionId, answers: usize) {
    let until = Instant::now() + GATHERING;
    let mut asked = engine.with(|shared, _, _| shared.asked());
    loop {
        yield_now().await;
        let before = asked;
        let done = engine.with(|shared, _, _| {
            asked = shared.asked();
            shared.machine.pending(id) >= answers || asked == before
        });
        if done || Instant::now() >= until {
            return;
        }
    }
}
