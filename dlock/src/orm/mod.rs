//! SeaORM: the way in, its entities, and errors as answers of web services.

mod db_err;
mod entity;
#[cfg(any(feature = "actix-web", feature = "axum"))]
mod web;

pub use self::entity::{EntityDLockExt, ModelDLockExt};
