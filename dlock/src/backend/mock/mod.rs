//! SeaORM's `MockDatabase`: locks in the memory of this process, for unit tests.

mod connect;
mod orm;

pub(crate) use self::orm::Mock;
