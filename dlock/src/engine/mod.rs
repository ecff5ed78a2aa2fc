//! Which request is answered when, and by which session. Knows no database and no ORM.
//!
//! The [`machine`] decides; the [`driver`] owns the mutex, the tasks and the channels.

mod counters;
mod driver;
mod machine;

pub use self::counters::Counters;
pub(crate) use self::driver::{
    Engine, Grant, LOSS_GRACE, Loss, OwnTask, Refusal, Refusals, Waiting, warned, within,
};
pub(crate) use self::machine::{MAX_STILLBORN, Settings, backoff, longest_slice, next_slice};
