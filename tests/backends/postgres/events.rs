//! What dlock tells by `tracing`: a key in the field `key` and nowhere else, a password never.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use dlock::{DLockExt, Error, LockPool};
use dlock_tests::connect;
use sea_orm::sqlx::postgres::PgPoolOptions;
use tokio::time::{Instant, sleep, timeout};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::server::{PATIENCE, Server, application, name, options, sessions, url};
use crate::suite::waiting;

/// One event.
#[derive(Debug, Clone)]
struct Told {
    level: Level,
    fields: BTreeMap<&'static str, String>,
}

impl Told {
    fn field(&self, name: &str) -> &str {
        let field = self.fields.get(name);
        field.unwrap_or_else(|| panic!("no `{name}`: {self:?}"))
    }

    fn waited(&self) -> Duration {
        let waited = self.field("waited");
        let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
        let seconds = units.into_iter().find_map(|(unit, seconds)| {
            let number: f64 = waited.strip_suffix(unit)?.parse().ok()?;
            Some(number * seconds)
        });
        let seconds = seconds.unwrap_or_else(|| panic!("no duration: {self:?}"));
        Duration::from_secs_f64(seconds)
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// The one subscriber of the process. Keeps what the threads of the tests below tell.
#[derive(Debug, Default)]
struct Recorder(Mutex<HashMap<ThreadId, Vec<Told>>>);

impl Recorder {
    fn installed() -> &'static Self {
        static INSTALLED: OnceLock<&Recorder> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let recorder: &Self = Box::leak(Box::default());
            tracing::subscriber::set_global_default(Forwarder(recorder)).expect("the only one");
            // A thread that came upon an event just now may have found that nobody listens.
            tracing::callsite::rebuild_interest_cache();
            recorder
        })
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<ThreadId, Vec<Told>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Forwarder(&'static Recorder);

impl Subscriber for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("dlock")
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(all) = self.0.threads().get_mut(&thread::current().id()) {
            let mut told = Told {
                level: *event.metadata().level(),
                fields: BTreeMap::new(),
            };
            event.record(&mut told);
            all.push(told);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What is told on the thread of this test, which is all that its runtime has: by the callers and by the sessions of its pools.
#[derive(Debug)]
struct Ear(&'static Recorder);

impl Ear {
    fn open() -> Self {
        let recorder = Recorder::installed();
        recorder
            .threads()
            .entry(thread::current().id())
            .or_default();
        Self(recorder)
    }

    fn all(&self) -> Vec<Told> {
        self.0.threads()[&thread::current().id()].clone()
    }

    fn of(&self, message: &str) -> Vec<Told> {
        let mut told = self.all();
        told.retain(|told| told.field("message") == format!("dlock: {message}"));
        told
    }

    /// The only one of this kind.
    fn one(&self, message: &str) -> Told {
        let mut told = self.of(message);
        assert_eq!(told.len(), 1, "{message}: {:#?}", self.all());
        told.remove(0)
    }

    /// None of these keys stands anywhere but in the field `key`.
    fn has_keys_in_their_field_only(&self, keys: &[&str]) {
        for told in self.all() {
            for (field, value) in &told.fields {
                match *field {
                    "key" => assert!(keys.contains(&value.as_str()), "{told:?}"),
                    _ => assert!(!keys.iter().any(|key| value.contains(key)), "{told:?}"),
                }
            }
        }
    }

    fn never_heard(&self, secret: &str) {
        for told in self.all() {
            let mut values = told.fields.values();
            assert!(!values.any(|value| value.contains(secret)), "{told:?}");
        }
    }
}

#[tokio::test]
async fn a_lock_that_is_acquired_is_told_with_its_key_and_its_wait() {
    let ear = Ear::open();
    let (ours, theirs) = (connect(&url(), 1).await, connect(&url(), 1).await);
    let key = name();
    let held = theirs.dlock(&key).await.unwrap();
    let first = ear.one("acquired");
    assert_eq!((first.level, first.field("key")), (Level::DEBUG, &*key));

    let waiter = tokio::spawn({
        let (ours, key) = (ours.clone(), key.clone());
        async move { ours.dlock(key).shared().timeout(PATIENCE).await }
    });
    waiting(&ours, 1).await.unwrap();
    let started = Instant::now();
    sleep(Duration::from_millis(100)).await;
    let waited = started.elapsed();
    held.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
    let told = ear.of("acquired");
    let [_, second] = &told[..] else {
        panic!("{told:#?}");
    };
    assert_eq!(second.field("key"), key);
    assert_eq!(first.field("mode"), "exclusive");
    assert_eq!(second.field("mode"), "shared");
    assert!(second.waited() >= waited, "{second:?}");
    assert!(second.waited() < PATIENCE, "{second:?}");
    ear.has_keys_in_their_field_only(&[&key]);
}

#[tokio::test]
async fn a_timeout_is_told_with_its_key_and_its_wait() {
    let ear = Ear::open();
    let (ours, theirs) = (connect(&url(), 1).await, connect(&url(), 1).await);
    let (key, limit) = (name(), Duration::from_millis(150));
    let held = theirs.dlock(&key).await.unwrap();
    let result = ours.dlock(&key).timeout(limit).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    let told = ear.one("timeout");
    assert_eq!((told.level, told.field("key")), (Level::DEBUG, &*key));
    assert!(told.waited() >= limit, "{told:?}");
    assert!(told.waited() < PATIENCE, "{told:?}");
    ear.one("acquired");
    held.release().await.unwrap();
    ear.has_keys_in_their_field_only(&[&key]);
}

#[tokio::test]
async fn a_session_is_told_when_it_opens_and_when_it_closes() {
    let ear = Ear::open();
    let password = name();
    let url = options(&url()).password(&password);
    let db = PgPoolOptions::new().connect_lazy_with(url);
    let pool = LockPool::builder(&db).build();
    let key = name();
    pool.dlock(&key).await.unwrap().release().await.unwrap();
    let opened = ear.one("session opened");
    assert!(ear.of("session closed").is_empty());
    pool.close().await;
    let closed = ear.one("session closed");
    assert_eq!(opened.field("session"), closed.field("session"));
    assert_eq!(
        opened.field("session"),
        ear.one("acquired").field("session")
    );
    assert_eq!((opened.level, closed.level), (Level::DEBUG, Level::DEBUG));
    ear.has_keys_in_their_field_only(&[&key]);
    ear.never_heard(&password);
}

#[tokio::test]
async fn a_session_that_is_lost_is_told_with_each_of_its_locks() {
    let ear = Ear::open();
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let keys = [name(), name()];
    let mut guards = Vec::new();
    for key in &keys {
        guards.push(db.dlock(key).await.unwrap());
    }
    let released = name();
    db.dlock(&released).await.unwrap().release().await.unwrap();
    let mut server = Server::main().await;
    let killed = format!(
        "(SELECT bool_and(pg_terminate_backend(pid)) FROM {})",
        sessions(&application)
    );
    assert!(server.is(&killed).await);
    for guard in &guards {
        timeout(PATIENCE, guard.lost()).await.unwrap();
    }
    let session = ear.one("session lost");
    assert_eq!(session.level, Level::WARN);
    session.field("error");
    let locks = ear.of("lock lost");
    let mut lost: Vec<&str> = locks.iter().map(|told| told.field("key")).collect();
    lost.sort_unstable();
    let mut held = keys.each_ref().map(String::as_str);
    held.sort_unstable();
    assert_eq!(lost, held);
    for lock in &locks {
        assert_eq!(lock.level, Level::WARN);
        assert_eq!(lock.field("session"), session.field("session"));
    }
    assert!(ear.of("session closed").is_empty());
    let [first, second] = held;
    ear.has_keys_in_their_field_only(&[first, second, &released]);
}

#[tokio::test]
async fn a_session_that_is_refused_is_told_with_the_cause() {
    let ear = Ear::open();
    let (role, password) = (name(), name());
    let stranger = options(&url()).username(&role).password(&password);
    let db = PgPoolOptions::new().connect_lazy_with(stranger);
    let key = name();
    let result = timeout(PATIENCE, db.dlock(&key)).await.unwrap();
    assert!(matches!(result, Err(Error::Database { .. })), "{result:?}");
    let told = ear.one("session refused");
    assert_eq!(told.level, Level::WARN);
    assert!(told.field("error").contains("connect"), "{told:?}");
    assert!(told.field("cause").contains(&role), "{told:?}");
    assert!(ear.of("acquired").is_empty());
    ear.has_keys_in_their_field_only(&[&key]);
    ear.never_heard(&password);
}

#[tokio::test]
async fn a_wait_of_more_than_ten_seconds_is_told_once() {
    let ear = Ear::open();
    let (ours, theirs) = (connect(&url(), 1).await, connect(&url(), 1).await);
    let (long, short) = (name(), name());
    let held = [
        theirs.dlock(&long).await.unwrap(),
        theirs.dlock(&short).await.unwrap(),
    ];
    let (ten, more) = (Duration::from_secs(10), Duration::from_millis(1500));
    let (after_all, too_long) = tokio::join!(
        ours.dlock(&short).timeout(ten - more).acquire(),
        ours.dlock(&long).timeout(ten + more).acquire(),
    );
    for result in [after_all, too_long] {
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    }
    let told = ear.one("still waiting for a lock");
    assert_eq!((told.level, told.field("key")), (Level::WARN, &*long));
    assert!(told.waited() >= ten, "{told:?}");
    assert!(told.waited() < ten + more, "{told:?}");
    for guard in held {
        guard.release().await.unwrap();
    }
    ear.has_keys_in_their_field_only(&[&long, &short]);
}
