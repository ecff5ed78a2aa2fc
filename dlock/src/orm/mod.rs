//! SeaORM: the way in, its entities, and errors as answers of web services.

mod db_err;
mod entity;
mod ext;
#[cfg(any(feature = "actix-web", feature = "axum"))]
mod web;

pub use self::entity::{EntityDLockExt, ModelDLockExt};
pub use self::ext::DLockExt;
