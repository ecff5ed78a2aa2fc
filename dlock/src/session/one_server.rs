//! All live sessions of a pool are on one server: behind one address there may be two that can be
//! written to, and their locks do not exclude each other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SessionError;
use crate::error::Error;

/// What makes a server this one and no other, for people to read.
pub(super) type ServerId = Arc<str>;

/// The servers that the sessions of one connector are on.
#[derive(Debug, Clone, Default)]
pub(super) struct OneServer(Arc<Servers>);

#[derive(Debug, Default)]
struct Servers {
    known: Mutex<Known>,
    /// Whether there is a dispute, readable without the mutex.
    is_disputed: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// How many sessions live on each; more than one entry is impossible.
    live: HashMap<ServerId, usize>,
    /// The last server on which a probe lock was a lock.
    proven: Option<ServerId>,
    /// A new session was on this server while sessions lived on another.
    disputed_by: Option<ServerId>,
    /// The other one answered after that: both are alive. This is final.
    two_servers: Option<Error>,
}

impl OneServer {
    fn known(&self) -> MutexGuard<'_, Known> {
        let known = self.0.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is on this server. When no other session lives, it may be another server than
    /// before: a failover.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] while sessions live on another server, and for good once one of these has
    /// answered after that.
    pub(super) fn join(&self, server: &ServerId) -> Result<Membership, Error> {
        let mut known = self.known();
        if let Some(error) = &known.two_servers {
            return Err(error.clone());
        }
        if let Some(other) = known.live.keys().find(|other| *other != server) {
            let error = two_servers(server, other);
            known.disputed_by = Some(Arc::clone(server));
            self.0.is_disputed.store(true, Ordering::Release);
            return Err(error);
        }
        *known.live.entry(Arc::clone(server)).or_default() += 1;
        Ok(Membership {
            servers: self.clone(),
            server: Arc::clone(server),
        })
    }

    /// Whether a probe lock has shown that this server locks.
    pub(super) fn is_proven(&self, server: &ServerId) -> bool {
        self.known().proven.as_ref() == Some(server)
    }

    pub(super) fn set_proven(&self, server: &ServerId) {
        self.known().proven = Some(Arc::clone(server));
    }
}

/// The part of one session, for as long as it lives.
#[derive(Debug)]
pub(super) struct Membership {
    servers: OneServer,
    server: ServerId,
}

impl Membership {
    /// To be called after each answer that proves the session.
    ///
    /// # Errors
    ///
    /// When a session of the pool was opened on another server meanwhile: two servers are alive.
    pub(super) fn confirm(&self) -> Result<(), SessionError> {
        if !self.servers.0.is_disputed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut known = self.servers.known();
        match &known.disputed_by {
            Some(found) if *found != self.server => {
                let error = two_servers(found, &self.server);
                known.two_servers = Some(error.clone());
                Err(SessionError::Refused(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut known = self.servers.known();
        if let Some(sessions) = known.live.get_mut(&self.server) {
            *sessions -= 1;
            if *sessions == 0 {
                known.live.remove(&self.server);
            }
        }
        if known.live.is_empty() {
            known.disputed_by = None;
            self.servers.0.is_disputed.store(false, Ordering::Release);
        }
    }
}

fn two_servers(found: &ServerId, other: &ServerId) -> Error {
    Error::Refused {
        found: Cow::Owned(format!(
            "two servers behind one address, {found} and {other}"
        )),
        expected: Cow::Borrowed("one server for all sessions of a lock pool"),
        way_out: "let the address lead to the primary alone, then restart the service or build a \
                  new lock pool: a load balancer must not spread connections over servers that \
                  can be written to",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ServerId {
        name.into()
    }

    #[test]
    fn sessions_on_one_server_agree() {
        let servers = OneServer::default();
        let one = servers.join(&id("a")).unwrap();
        let two = servers.join(&id("a")).unwrap();
        assert!(one.confirm().is_ok() && two.confirm().is_ok());
    }

    #[test]
    fn another_server_is_a_failover_when_no_session_is_left() {
        let servers = OneServer::default();
        drop(servers.join(&id("a")).unwrap());
        assert!(servers.join(&id("b")).is_ok());
    }

    #[test]
    fn a_second_server_is_refused_for_good_once_the_first_has_answered() {
        let servers = OneServer::default();
        let first = servers.join(&id("a")).unwrap();
        let refused = servers.join(&id("b")).unwrap_err().to_string();
        assert!(refused.contains("b and a"), "{refused}");
        assert!(matches!(first.confirm(), Err(SessionError::Refused(_))));
        drop(first);
        assert!(servers.join(&id("a")).is_err());
        assert!(servers.join(&id("b")).is_err());
    }

    #[test]
    fn a_second_server_takes_over_from_one_that_never_answers() {
        let servers = OneServer::default();
        let silent = servers.join(&id("a")).unwrap();
        assert!(servers.join(&id("b")).is_err());
        drop(silent);
        let next = servers.join(&id("b")).unwrap();
        assert!(next.confirm().is_ok());
    }
}
