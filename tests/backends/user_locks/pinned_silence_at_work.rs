//! A network that goes silent while the holder of a pinned lock is at work.

use super::pinned_silence::is_lost_in_time;
use super::{Scene, Server};
use crate::suite::Outcome;

pub(crate) async fn a_pinned_lock_whose_network_falls_silent_in_a_transaction_is_lost<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    is_lost_in_time(scene, true).await
}
