//! Where one test takes place: what these servers have that the contract does not know.

use dlock_tests::env;

use super::proxy::Proxy;
use super::raw::Raw;
use super::{Server, UserLocks};
use crate::suite::Outcome;

pub(crate) type Scene<S> = crate::suite::Scene<UserLocks<S>>;

impl<S: Server> Scene<S> {
    /// A plain connection to the main server, with an account that belongs to no application.
    pub(crate) async fn raw(&self) -> Outcome<Raw> {
        Raw::at(&env(S::URL)).await
    }

    /// A proxy for the application that is called "ours".
    pub(crate) async fn proxy(&self) -> Outcome<Proxy> {
        Proxy::start(&self.url("ours")).await
    }
}
