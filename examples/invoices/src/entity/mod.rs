//! The tables. Amounts are whole cents.
#![allow(missing_docs, reason = "SeaORM's macros make public items")]

pub mod account;
pub mod invoice;
pub mod job;

pub use self::account::Entity as Account;
pub use self::invoice::Entity as Invoice;
pub use self::job::Entity as Job;
