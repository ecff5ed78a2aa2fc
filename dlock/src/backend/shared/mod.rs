//! What several databases share.

pub(crate) mod alone;
pub(crate) mod digest;
pub(crate) mod doubt;
pub(crate) mod names;
pub(crate) mod one_database;
pub(crate) mod one_server;
pub(crate) mod probe;
pub(crate) mod trouble;
