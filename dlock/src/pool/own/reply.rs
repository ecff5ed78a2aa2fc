//! What a task replies as the last thing that it does.

use super::{Confirm, Order};
use crate::engine::Refusal;
use crate::error::Error;

/// The reply to the caller when everything is as it says: the session ended, and its place free.
pub(super) type FinalReply = Box<dyn FnOnce() + Send>;

pub(super) fn refuse(order: Order, refusal: Refusal) -> FinalReply {
    let Order { reply, .. } = order;
    // The caller may be gone.
    Box::new(move || drop(reply.send(Err(refusal))))
}

pub(super) fn confirm(confirm: Option<Confirm>, released: Result<(), Error>) -> Option<FinalReply> {
    let confirm = confirm?;
    Some(Box::new(move || drop(confirm.send(released))))
}
