//! The events of dlock by `tracing`, and the warnings of sqlx, for one test at a time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Where sqlx's events come from.
const SQLX: &str = "sqlx";

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    target: &'static str,
    pub(crate) level: Level,
    fields: BTreeMap<&'static str, String>,
}

impl Told {
    pub(crate) fn field(&self, name: &str) -> &str {
        let field = self.fields.get(name);
        field.unwrap_or_else(|| panic!("no `{name}`: {self:?}"))
    }

    pub(crate) fn waited(&self) -> Duration {
        self.duration("waited")
    }

    pub(crate) fn duration(&self, field: &str) -> Duration {
        let waited = self.field(field);
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

/// The one subscriber of the process. Keeps what the threads of those tests tell that have opened an ear.
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
        let is_of = |target| metadata.target().starts_with(target);
        metadata.is_event() && (is_of("dlock") || is_of(SQLX) && *metadata.level() <= Level::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(all) = self.0.threads().get_mut(&thread::current().id()) {
            let mut told = Told {
                target: event.metadata().target(),
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
pub(crate) struct Ear(&'static Recorder);

impl Ear {
    pub(crate) fn open() -> Self {
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

    pub(crate) fn of(&self, message: &str) -> Vec<Told> {
        let mut told = self.all();
        told.retain(|told| told.field("message") == format!("dlock: {message}"));
        told
    }

    /// Those whose message begins like this.
    pub(crate) fn beginning(&self, message: &str) -> Vec<Told> {
        let mut told = self.all();
        told.retain(|told| {
            told.field("message")
                .starts_with(&format!("dlock: {message}"))
        });
        told
    }

    /// The only one of this kind.
    pub(crate) fn one(&self, message: &str) -> Told {
        let mut told = self.of(message);
        assert_eq!(told.len(), 1, "{message}: {:#?}", self.all());
        told.remove(0)
    }

    /// The warnings and errors of sqlx.
    pub(crate) fn of_sqlx(&self) -> Vec<Told> {
        let mut told = self.all();
        told.retain(|told| told.target.starts_with(SQLX));
        told
    }

    /// None of these keys stands anywhere but in the field `key`.
    pub(crate) fn has_keys_in_their_field_only(&self, keys: &[&str]) {
        for told in self.all() {
            for (field, value) in &told.fields {
                match *field {
                    "key" => assert!(keys.contains(&value.as_str()), "{told:?}"),
                    _ => assert!(!keys.iter().any(|key| value.contains(key)), "{told:?}"),
                }
            }
        }
    }

    pub(crate) fn never_heard(&self, secret: &str) {
        for told in self.all() {
            let mut values = told.fields.values();
            assert!(!values.any(|value| value.contains(secret)), "{told:?}");
        }
    }
}
