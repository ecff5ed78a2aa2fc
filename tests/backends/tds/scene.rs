//! A server of one test, what it is told to say, and what it was asked.

use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dlock::mssql::{MsSql, tiberius};
use dlock::{Error, LockPool, LockPoolBuilder, Phase};
use dlock_tds::{AppLocks, Entry, Reply, Request, Server, SessionId, Value};
use dlock_tests::urls;
use tokio::sync::watch;

use crate::suite::{Outcome, soon};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Locks that are asked for at once.
    Try,
    /// A lock that is waited for.
    Wait,
    /// Locks that are given back, whatever is asked for with them.
    Release,
    /// A sign of life; every session begins with one.
    Life,
    Other,
}

impl Of {
    fn what(request: &Request) -> Self {
        let has = |what| request.sql.contains(what);
        match () {
            () if has("sp_releaseapplock") => Self::Release,
            () if has("@LockTimeout = @P") => Self::Wait,
            () if has("sp_getapplock") => Self::Try,
            () if has("@@SPID") => Self::Life,
            () => Self::Other,
        }
    }
}

type Distort = Box<dyn Fn(Reply) -> Reply + Send>;

/// What takes the place of a reply.
enum Words {
    /// The request is not carried out.
    First(Reply),
    /// It was.
    Last(Distort),
}

#[derive(Default)]
struct Script {
    seen: Vec<(Of, Request)>,
    /// For how many requests of which kind.
    words: Vec<(Of, usize, Words)>,
}

pub(super) struct Scene {
    pub(super) server: Server<AppLocks>,
    script: Arc<Mutex<Script>>,
    seen: watch::Receiver<()>,
}

fn open(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Script {
    /// The words for this request, if they are of that kind; they are used up.
    fn take<T>(&mut self, of: Of, pick: impl Fn(&Words) -> Option<T>) -> Option<T> {
        let mut words = self.words.iter_mut();
        words.find_map(|(kind, left, words)| {
            let picked = pick(words).filter(|_| *kind == of && *left > 0)?;
            *left -= 1;
            Some(picked)
        })
    }
}

impl Scene {
    pub(super) async fn open() -> Outcome<Self> {
        Ok(Self::on(Server::start(AppLocks::new()).await?))
    }

    pub(super) fn on(server: Server<AppLocks>) -> Self {
        let script = Arc::<Mutex<Script>>::default();
        let (told, seen) = watch::channel(());
        let first = Arc::clone(&script);
        server.locks().answer_first(move |request| {
            let of = Of::what(request);
            let mut script = open(&first);
            script.seen.push((of, request.clone()));
            told.send_replace(());
            script.take(of, |words| match words {
                Words::First(reply) => Some(reply.clone()),
                Words::Last(_) => None,
            })
        });
        let last = Arc::clone(&script);
        server.locks().answer_last(move |request, reply| {
            let distorted = open(&last).take(Of::what(request), |words| match words {
                Words::First(_) => None,
                Words::Last(distort) => Some(distort(reply.clone())),
            });
            distorted.unwrap_or(reply)
        });
        Self {
            server,
            script,
            seen,
        }
    }

    /// In the place of what the next request of this kind asks for.
    pub(super) fn say(&self, of: Of, reply: impl Into<Reply>) {
        self.say_times(1, of, reply);
    }

    pub(super) fn say_times(&self, times: usize, of: Of, reply: impl Into<Reply>) {
        let words = Words::First(reply.into());
        open(&self.script).words.push((of, times, words));
    }

    /// In the place of the reply to the next request of this kind, which is carried out.
    pub(super) fn distort(&self, of: Of, distort: impl Fn(Reply) -> Reply + Send + 'static) {
        let words = Words::Last(Box::new(distort));
        open(&self.script).words.push((of, 1, words));
    }

    /// The requests of this kind so far.
    pub(super) fn seen(&self, of: Of) -> Vec<Request> {
        let script = open(&self.script);
        let seen = script.seen.iter().filter(|(kind, _)| *kind == of);
        seen.map(|(_, request)| request.clone()).collect()
    }

    pub(super) fn asked(&self, of: Of) -> usize {
        self.seen(of).len()
    }

    /// Until there were so many requests of this kind.
    pub(super) async fn until_asked(&self, of: Of, count: usize) -> Outcome {
        let mut seen = self.seen.clone();
        let asked = seen.wait_for(|()| self.asked(of) >= count);
        soon("the requests", asked).await?.map(|_| Ok(()))?
    }

    pub(super) fn url(&self, application: &str) -> String {
        let address = self.server.address();
        urls::named(
            &format!("mssql://dlock@{address}/master?encrypt=no"),
            application,
        )
    }

    pub(super) fn config(&self, application: &str) -> tiberius::Config {
        urls::mssql(&self.url(application))
    }

    pub(super) fn builder(&self, application: &str) -> LockPoolBuilder<'static> {
        LockPool::builder_for(MsSql::new(self.config(application)))
    }

    pub(super) fn pool(&self, application: &str) -> LockPool {
        self.builder(application).build()
    }

    /// A pool that gives up on a silent server after this long.
    pub(super) fn impatient(&self, application: &str, keepalive: Duration) -> LockPool {
        self.builder(application).keepalive(keepalive).build()
    }

    pub(super) fn locks(&self) -> &AppLocks {
        self.server.locks()
    }

    /// The sessions of this application.
    pub(super) fn sessions(&self, application: &str) -> Vec<SessionId> {
        let sessions = self.server.sessions().list();
        let its = sessions
            .iter()
            .filter(|session| session.login.application == application);
        its.map(|session| session.id).collect()
    }

    /// Who has this lock.
    pub(super) fn holder(&self, name: &str) -> Option<Entry> {
        let mut holders = self.locks().holders(name);
        assert!(holders.len() <= 1, "{holders:?}");
        holders.pop()
    }

    /// Until nobody has a lock or waits for one.
    pub(super) async fn is_left_clean(&self) -> Outcome {
        soon("no lock", self.locks().until(<[Entry]>::is_empty)).await
    }

    pub(super) async fn until_ended(&self, session: SessionId) -> Outcome {
        soon("the end", self.server.sessions().ended(session)).await
    }

    /// Until this application has no session any more.
    pub(super) async fn until_left(&self, application: &str) -> Outcome {
        let sessions = self.server.sessions();
        let gone = sessions.until(|_| self.sessions(application).is_empty());
        soon("the end of all sessions", gone).await
    }

    pub(super) async fn until_waiting(&self, name: &str, count: usize) -> Outcome {
        soon("the line", self.locks().until_waiting(name, count)).await
    }
}

/// The answer with this status.
pub(super) fn row(status: i32) -> Reply {
    Reply::row([Value::Int(status)])
}

/// What the server said where it failed at this.
pub(super) fn why<T: std::fmt::Debug>(at: Phase, outcome: Result<T, Error>) -> String {
    match outcome {
        Err(error @ Error::Database { phase, .. }) if phase == at => {
            error.source().expect("what the server said").to_string()
        }
        another => panic!("{another:?}"),
    }
}
