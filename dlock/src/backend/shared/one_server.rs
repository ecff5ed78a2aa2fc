//! All live sessions of a pool are on one server: behind one address there may be two that can be
//! written to, and their locks do not exclude each other.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::session_error::SessionError;
use crate::error::Error;

/// A server, as no other is.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Equal for sessions on one server only.
    id: Arc<str>,
    /// The same for people.
    label: Arc<str>,
}

impl Server {
    pub(crate) fn new(id: impl Into<Arc<str>>, label: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            label: label.into(),
        }
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// The servers that the sessions of one connector are on.
#[derive(Debug, Clone, Default)]
pub(crate) struct OneServer(Arc<Servers>);

#[derive(Debug, Default)]
struct Servers {
    known: Mutex<Known>,
    /// Whether there is a dispute, readable without the mutex.
    is_disputed: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// The server of all live sessions, and how many there are.
    live: Option<(Server, usize)>,
    /// The last server on which a probe lock was listed.
    locks: Option<Server>,
    /// The last server on which a lock of one session was refused to another.
    excludes: Option<Server>,
    /// A new session was on this server while sessions lived on another.
    disputed_by: Option<Server>,
    /// Why this pool gets no session any more.
    verdict: Option<Error>,
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
    /// [`SessionError::Ended`] while sessions live on another server, which is then to be asked
    /// whether it still answers. [`SessionError::Refused`] for good once it has answered.
    pub(crate) fn join(&self, server: &Server) -> Result<Membership, SessionError> {
        let mut known = self.known();
        if let Some(verdict) = &known.verdict {
            return Err(SessionError::Refused(verdict.clone()));
        }
        let sessions = match &known.live {
            Some((other, _)) if other != server => {
                let error = perhaps_two_servers(server, other);
                known.disputed_by = Some(server.clone());
                self.0.is_disputed.store(true, Ordering::Release);
                return Err(error);
            }
            Some((_, sessions)) => *sessions,
            None => 0,
        };
        known.live = Some((server.clone(), sessions + 1));
        Ok(Membership {
            servers: self.clone(),
            server: server.clone(),
        })
    }

    /// Whether a session of another server waits for the others to show that theirs is alive.
    pub(crate) fn is_disputed(&self) -> bool {
        self.0.is_disputed.load(Ordering::Acquire)
    }

    /// Whether a probe lock has shown that this server locks.
    pub(crate) fn locks(&self, server: &Server) -> bool {
        self.known().locks.as_ref() == Some(server)
    }

    pub(crate) fn set_locks(&self, server: &Server) {
        self.known().locks = Some(server.clone());
    }

    /// Whether two sessions have shown that locks of the live server exclude each other.
    pub(crate) fn excludes(&self) -> bool {
        let known = self.known();
        let live = known.live.as_ref().map(|(server, _)| server);
        live.is_some() && known.excludes.as_ref() == live
    }

    pub(crate) fn set_excludes(&self) {
        let mut known = self.known();
        known.excludes = known.live.as_ref().map(|(server, _)| server.clone());
    }

    /// This pool gets no session any more.
    pub(crate) fn refuse_for_good(&self, error: &Error) {
        self.known().verdict = Some(error.clone());
    }
}

/// The part of one session, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Membership {
    servers: OneServer,
    server: Server,
}

impl Membership {
    /// Whether a good answer to the next statement will [confirm](Self::confirm) a dispute.
    fn is_disputed(&self) -> bool {
        self.servers.is_disputed()
    }

    /// The session has answered a statement that was sent after a session of the pool had been
    /// opened on another server.
    ///
    /// # Errors
    ///
    /// Two servers are alive.
    fn confirm(&self) -> Result<(), SessionError> {
        let mut known = self.servers.known();
        match &known.disputed_by {
            Some(found) if *found != self.server => {
                let error = two_servers(found, &self.server);
                known.verdict = Some(error.clone());
                Err(SessionError::Refused(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut known = self.servers.known();
        known.live = match known.live.take() {
            Some((server, sessions)) if sessions > 1 => Some((server, sessions - 1)),
            _ => None,
        };
        if known.live.is_none() {
            known.disputed_by = None;
            self.servers.0.is_disputed.store(false, Ordering::Release);
        }
    }
}

/// The record that a session has of its server; empty before its check.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    membership: Option<Membership>,
    /// Whether the statement that runs was sent during a dispute about the server.
    asked_in_dispute: bool,
}

impl Standing {
    pub(crate) fn of(membership: Membership) -> Self {
        Self {
            membership: Some(membership),
            asked_in_dispute: false,
        }
    }

    /// To be called before a statement whose answer counts.
    pub(crate) fn note_dispute(&mut self) {
        let membership = self.membership.as_ref();
        self.asked_in_dispute = membership.is_some_and(Membership::is_disputed);
    }

    /// The session itself has answered that statement.
    ///
    /// # Errors
    ///
    /// Those of [`Membership::confirm`].
    pub(crate) fn has_answered(&self) -> Result<(), SessionError> {
        match &self.membership {
            Some(membership) if self.asked_in_dispute => membership.confirm(),
            _ => Ok(()),
        }
    }
}

fn perhaps_two_servers(found: &Server, other: &Server) -> SessionError {
    SessionError::ended(format!(
        "the address leads to {} while sessions on {} are open: a failover, or two servers behind \
         one address; retry once the sessions on the other server have answered or ended",
        found.label, other.label
    ))
}

fn two_servers(found: &Server, other: &Server) -> Error {
    Error::Refused {
        found: Cow::Owned(format!(
            "two servers behind one address, {} and {}",
            found.label, other.label
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

    fn server(id: &str) -> Server {
        Server::new(id, format!("server {id}"))
    }

    #[test]
    fn sessions_on_one_server_agree() {
        let servers = OneServer::default();
        let one = servers.join(&server("a")).unwrap();
        let two = servers.join(&Server::new("a", "by another label")).unwrap();
        assert!(!servers.is_disputed() && one.confirm().is_ok() && two.confirm().is_ok());
    }

    #[test]
    fn another_server_is_a_failover_when_no_session_is_left() {
        let servers = OneServer::default();
        let first = servers.join(&server("a")).unwrap();
        servers.set_locks(&server("a"));
        servers.set_excludes();
        assert!(servers.excludes());
        drop(first);
        let _next = servers.join(&server("b")).unwrap();
        assert!(!servers.locks(&server("b")) && !servers.excludes());
    }

    #[test]
    fn a_second_server_is_refused_for_good_once_the_first_has_answered() {
        let servers = OneServer::default();
        let first = servers.join(&server("a")).unwrap();
        let early = servers.join(&server("b")).unwrap_err();
        assert!(matches!(early, SessionError::Ended(_)), "{early:?}");
        assert!(first.is_disputed());
        let Err(SessionError::Refused(error)) = first.confirm() else {
            panic!("two servers are alive");
        };
        assert!(
            error.to_string().contains("server b and server a"),
            "{error}"
        );
        drop(first);
        for id in ["a", "b"] {
            let refused = servers.join(&server(id)).unwrap_err();
            assert!(matches!(refused, SessionError::Refused(_)), "{refused:?}");
        }
    }

    #[test]
    fn a_second_server_takes_over_from_one_that_never_answers() {
        let servers = OneServer::default();
        let silent = servers.join(&server("a")).unwrap();
        assert!(servers.join(&server("b")).is_err());
        drop(silent);
        let next = servers.join(&server("b")).unwrap();
        assert!(!next.is_disputed() && next.confirm().is_ok());
    }
}
