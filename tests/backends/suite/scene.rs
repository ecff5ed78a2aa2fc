//! Where one test takes place: its own names, its own keys, its own connections; and how it waits.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dlock::{LockPoolBuilder, Lockable};
use dlock_tests::{Counter, Db};
use tokio::time::{sleep, timeout};

use super::{Backend, Failure, Outcome, Peer, needed};

/// For what should not take long: machines are shared and noisy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Scene<B> {
    pub(crate) backend: B,
    pub(crate) name: String,
    keys: Mutex<Vec<i64>>,
}

impl<B: Backend> Scene<B> {
    pub(crate) async fn open() -> Outcome<Self> {
        Ok(Self {
            backend: B::open().await?,
            name: format!("t{:08x}", fastrand::u32(..)),
            keys: Mutex::default(),
        })
    }

    /// A key that nobody else uses.
    pub(crate) fn key(&self) -> i64 {
        let key = fastrand::i64(..);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.push(key);
        key
    }

    fn used_keys(&self) -> Vec<i64> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    pub(crate) fn keys(&self, count: usize) -> Vec<i64> {
        (0..count).map(|_| self.key()).collect()
    }

    /// What one of this test's applications is called on the server.
    pub(crate) fn application(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    pub(crate) fn url(&self, of: &str) -> String {
        self.backend.url(&self.application(of))
    }

    /// One of this test's applications; each has a lock pool of its own.
    pub(crate) async fn db(&self, of: &str) -> B::Db {
        self.db_of(of, 4).await
    }

    pub(crate) async fn db_of(&self, of: &str, connections: u32) -> B::Db {
        B::Db::open(&self.url(of), connections).await
    }

    /// [`db`](Self::db) with a lock pool of this shape.
    pub(crate) async fn shaped(
        &self,
        of: &str,
        shape: impl FnOnce(LockPoolBuilder<'_>) -> LockPoolBuilder<'_>,
    ) -> B::Db {
        self.db(of).await.shaped(&self.url(of), shape)
    }

    /// One more lock pool for this application.
    pub(crate) fn builder<'a>(&self, of: &str, db: &'a B::Db) -> LockPoolBuilder<'a> {
        db.builder(&self.url(of))
    }

    /// A server that never replies to its connections, and its URL. It ends with the listener.
    pub(crate) fn silent_server(&self) -> Outcome<(TcpListener, String)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = needed(B::SILENT_URL)(listener.local_addr()?.port());
        Ok((listener, url))
    }

    pub(crate) async fn peer(&self, of: &str) -> Outcome<Peer> {
        Peer::start(&self.url(of)).await
    }

    pub(crate) async fn counter(&self, db: &B::Db) -> Outcome<Counter> {
        let counter = Counter::named(&self.name);
        counter.create(db).await?;
        Ok(counter)
    }

    pub(crate) async fn held(&self, keys: &[i64]) -> Outcome<usize> {
        Ok(self.backend.locks(keys).await?.held)
    }

    /// Until nobody holds this key or wants it.
    pub(crate) async fn until_free(&self, key: i64) -> Outcome {
        self.until_all_free(vec![key]).await
    }

    async fn until_all_free(&self, keys: Vec<i64>) -> Outcome {
        eventually("the server's view of the keys is empty", async || {
            Ok(self.backend.locks(&keys).await? == super::Locks::default())
        })
        .await
    }

    pub(crate) async fn until_sessions(&self, of: &str, count: usize) -> Outcome {
        let application = self.application(of);
        eventually(&format!("{of} has {count} lock sessions"), async || {
            let sessions = self.backend.sessions(&application).await?;
            Ok(sessions.is_none_or(|sessions| sessions == count))
        })
        .await
    }

    /// At most so many, now.
    pub(crate) async fn has_at_most(&self, count: usize, of: &str) -> Outcome {
        let sessions = self.backend.sessions(&self.application(of)).await?;
        assert!(
            sessions.is_none_or(|sessions| sessions <= count),
            "{sessions:?} lock sessions"
        );
        Ok(())
    }

    /// As soon as there is one.
    pub(crate) async fn kill_sessions(&self, of: &str) -> Outcome {
        let application = self.application(of);
        eventually(&format!("{of} has lock sessions to kill"), async || {
            Ok(self.backend.kill_sessions(&application).await? > 0)
        })
        .await
    }

    /// The end of every test: whatever it did, nothing of its keys is left on the server.
    pub(crate) async fn is_left_clean(&self) -> Outcome {
        let keys = self.used_keys();
        self.until_all_free(keys).await
    }
}

/// Until so many callers wait in this lock pool or that of this connection, and the server, if it was asked, has said no.
pub(crate) async fn waiting(db: &impl Lockable, count: usize) -> Outcome {
    let pool = db.lock_pool();
    eventually(&format!("{count} callers wait"), async || {
        Ok(pool.status().waiters == count)
    })
    .await
}

/// Until it is so.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> Outcome<bool>) -> Outcome {
    let start = Instant::now();
    while !so().await? {
        if start.elapsed() > PATIENCE {
            return Err(Failure::new(format!("not within {PATIENCE:?}: {what}")));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// What must come, and come before everybody loses patience.
pub(crate) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> Outcome<T> {
    let came = timeout(PATIENCE, coming).await;
    came.map_err(|_| Failure::new(format!("not within {PATIENCE:?}: {what}")))
}

pub(crate) async fn elapsed<T>(doing: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (doing.await, start.elapsed())
}

/// A noisy machine can only make things slower: the upper bound has to be met in one of a few attempts.
pub(crate) async fn in_one_of(
    attempts: usize,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Outcome<Duration>,
) -> Outcome {
    let mut took = Vec::new();
    for _ in 0..attempts {
        took.push(attempt().await?);
        if took.last().is_some_and(|took| *took <= limit) {
            return Ok(());
        }
    }
    Err(Failure::new(format!("never within {limit:?}: {took:?}")))
}
