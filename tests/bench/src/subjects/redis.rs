//! The lock that Redis' documentation describes for one server: `SET key token NX PX`, and a script that deletes the key if it still has the token. All tasks share one
//! multiplexed connection, the fastest way that the crate offers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dlock_bench_child::{Lock, Result, Sample, Subject};
use redis::aio::MultiplexedConnection;
use redis::{Client, Script, Value};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::sleep;

/// Of the key; long enough for a sample.
const LEASE_MILLISECONDS: u64 = 60_000;

/// On average: redis-py's default, `sleep=0.1`. (node-redlock waits for 200 ms.) Half of it more or less, like node-redlock, so that tasks do not retry in step.
const RETRY: Duration = Duration::from_millis(100);

const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

pub(super) struct Redis {
    connection: MultiplexedConnection,
    release: Arc<Script>,
    /// So that the tasks of this process do not retry against each other.
    in_front: Option<Mutex<HashMap<String, Arc<Mutex<()>>>>>,
}

impl Redis {
    pub(super) async fn connect(sample: &Sample, mutex: bool) -> Result<Self> {
        let client = Client::open(sample.url.as_str())?;
        Ok(Self {
            connection: client.get_multiplexed_async_connection().await?,
            release: Arc::new(Script::new(RELEASE)),
            in_front: mutex.then(Mutex::default),
        })
    }
}

impl Subject for Redis {
    type Lock = OfKey;

    async fn lock(&self, key: String) -> Result<OfKey> {
        let mutex = match &self.in_front {
            Some(keys) => Some(Arc::clone(
                keys.lock().await.entry(key.clone()).or_default(),
            )),
            None => None,
        };
        Ok(OfKey {
            connection: self.connection.clone(),
            release: Arc::clone(&self.release),
            mutex,
            key,
        })
    }
}

pub(super) struct OfKey {
    connection: MultiplexedConnection,
    release: Arc<Script>,
    mutex: Option<Arc<Mutex<()>>>,
    key: String,
}

pub(super) struct Held {
    token: String,
    _mutex: Option<OwnedMutexGuard<()>>,
}

impl OfKey {
    async fn set(&mut self, token: &str) -> Result<bool> {
        let mut set = redis::cmd("SET");
        set.arg(&self.key)
            .arg(token)
            .arg("NX")
            .arg("PX")
            .arg(LEASE_MILLISECONDS);
        let reply: Value = set.query_async(&mut self.connection).await?;
        Ok(reply != Value::Nil)
    }
}

impl Lock for OfKey {
    type Held = Held;

    async fn acquire(&mut self) -> Result<Held> {
        let _mutex = match &self.mutex {
            Some(mutex) => Some(Arc::clone(mutex).lock_owned().await),
            None => None,
        };
        let token = token();
        while !self.set(&token).await? {
            sleep(RETRY.mul_f64(0.5 + fastrand::f64())).await;
        }
        Ok(Held { token, _mutex })
    }

    async fn try_acquire(&mut self) -> Result<Option<Held>> {
        let _mutex = match &self.mutex {
            Some(mutex) => match Arc::clone(mutex).try_lock_owned() {
                Ok(mutex) => Some(mutex),
                Err(_) => return Ok(None),
            },
            None => None,
        };
        let token = token();
        let got = self.set(&token).await?;
        Ok(got.then_some(Held { token, _mutex }))
    }

    async fn release(&mut self, held: Held) -> Result<()> {
        let mut script = self.release.key(&self.key);
        let script = script.arg(&held.token);
        match script.invoke_async(&mut self.connection).await? {
            1 => Ok(()),
            _ => Err("somebody else's lock".into()),
        }
    }
}

/// Nobody else's.
fn token() -> String {
    format!("{:032x}", fastrand::u128(..))
}
