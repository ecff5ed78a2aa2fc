//! What a server asks, and whom.

use crate::{Reply, Session, SessionId, Value};

/// Who knows the answers.
pub trait Answer: Send + Sync + 'static {
    /// What is replied to the request.
    ///
    /// The future is dropped when its session ends or its client withdraws the request (ATTENTION), so whatever waits in
    /// it must leave its place in line when dropped.
    fn answer(&self, session: &Session, request: Request) -> impl Future<Output = Reply> + Send;

    /// The session is over, and no answer of it is under way any more.
    ///
    /// Called before its socket is closed where the server ends it, so what the session held is free by the time its
    /// client finds out.
    fn ended(&self, session: SessionId);
}

/// A batch (`simple_query`), or a call of `sp_executesql` (`query`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The statements.
    pub sql: String,
    /// `@P1`, `@P2`, ..; empty for a batch.
    pub parameters: Vec<Value>,
}
