//! What the example services are about: invoices to pay, accounts to move money between, reminders to send at night. Knows nothing of HTTP but what it answers when something
//! fails; that, and the locks around requests, is in `examples/axum` and `examples/actix`, which are made to be compared.
//!
//! ```text
//! entity/      the tables, for SeaORM
//! migration/   how they come to be, with data to try things out on
//! actions.rs   what is right for who has the lock, and wrong for who has not
//! transfer.rs  what takes two locks
//! nightly.rs   what one instance does each night
//! partners.rs  other people's services: what cannot be rolled back, and so is done under a lock
//! error.rs     why something was not done, and what clients are told
//! setup.rs     what a service does when it starts and stops
//! ```

mod actions;
mod entity;
mod error;
mod migration;
mod nightly;
mod partners;
mod setup;
mod transfer;

pub use self::actions::{Export, Receipt, export, pay};
pub use self::entity::{Account, Invoice, Job, account, invoice, job};
pub use self::error::Error;
pub use self::migration::Migrator;
pub use self::nightly::{Night, send_reminders};
pub use self::partners::Partners;
pub use self::setup::{asked_to_stop, connect, env_or};
pub use self::transfer::transfer;
