//! What the example services are about: invoices to pay, accounts to move money between, reminders to send at night. Knows nothing of locks and of the services' HTTP;
//! those are in `examples/axum` and `examples/actix`, which are made to be compared.
//!
//! ```text
//! entity/      the tables, for SeaORM
//! migration/   how they come to be, with data to try things out on
//! actions.rs   what can be done, each on a connection or a transaction
//! night.rs     when the nightly job is due
//! partners.rs  other people's services: what cannot be rolled back, and so is done under a lock
//! setup.rs     what a service does when it starts and stops
//! ```

mod actions;
mod entity;
mod migration;
mod night;
mod partners;
mod setup;

pub use self::actions::{Error, Export, Receipt, export, pay, remind, transfer};
pub use self::entity::{Account, Invoice, Job, account, invoice, job};
pub use self::migration::Migrator;
pub use self::night::Night;
pub use self::partners::Partners;
pub use self::setup::{asked_to_stop, connect, env_or};
