//! The contract of locks, mounted for the server in this process. Each test has one of its own.

use dlock::LockPool;
use dlock_tds::{AppLocks, Server, Status};
use dlock_tests::urls;

use crate::suite::{Backend, Locks, Outcome, contract_of_locks};

contract_of_locks! {
    InProcess,
    without VICTIM: "the server is part of the test's process and cannot be stopped by a script",
}

pub(crate) struct InProcess(Server<AppLocks>);

impl Backend for InProcess {
    type Db = LockPool;

    const SHARED: bool = true;
    const PINNED: bool = false;
    const XACT: bool = false;
    const LOSABLE: bool = true;
    const SILENT_URL: Option<fn(u16) -> String> =
        Some(|port| format!("mssql://nobody@127.0.0.1:{port}/master"));
    const VICTIM: Option<&str> = None;
    const PAIRS: bool = false;

    async fn open() -> Outcome<Self> {
        Ok(Self(Server::start(AppLocks::new()).await?))
    }

    fn url(&self, application: &str) -> String {
        let url = format!("mssql://dlock@{}/master", self.0.address());
        Self::named(&url, application)
    }

    fn named(url: &str, application: &str) -> String {
        urls::named(url, application)
    }

    fn holder(application: &str) -> String {
        application.to_owned()
    }

    async fn database(&self, _of: &LockPool) -> Outcome<String> {
        Ok("master".to_owned())
    }

    async fn locks(&self, keys: &[i64]) -> Outcome<Locks> {
        let names: Vec<String> = keys.iter().map(i64::to_string).collect();
        let mut locks = Locks::default();
        for entry in self.0.locks().entries() {
            if names.contains(&entry.name) {
                match entry.status {
                    Status::Waiting => locks.waited_for += 1,
                    Status::Granted | Status::Converting => locks.held += 1,
                }
            }
        }
        Ok(locks)
    }

    async fn sessions(&self, application: &str) -> Outcome<Option<usize>> {
        let sessions = self.0.sessions().list();
        let its = sessions
            .iter()
            .filter(|session| session.login.application == application);
        Ok(Some(its.count()))
    }

    async fn kill_sessions(&self, application: &str) -> Outcome<usize> {
        let sessions = self.0.sessions().list();
        let its = sessions
            .iter()
            .filter(|session| session.login.application == application);
        Ok(its
            .filter(|session| self.0.sessions().kill(session.id))
            .count())
    }
}
