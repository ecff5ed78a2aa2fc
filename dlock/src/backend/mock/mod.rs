//! SeaORM's `MockDatabase`: locks in the memory of this process, for unit tests.

mod connect;

pub(crate) use self::connect::refusal;
