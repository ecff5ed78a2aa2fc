//! Another process: `dlock-peer URL` does what it is told on its standard input, a line each, and answers with a line.
//!
//! ```text
//! acquire KEY WAY MILLISECONDS   waiting, then: held, or timeout MILLISECONDS, or error ..
//! try KEY WAY                    held, or busy, or error ..
//! release KEY                    released, or error ..
//! raise COUNTER KEY TASKS ROUNDS raised, or error ..      (KEY `-`: without a lock, `mixed:KEY`: pinned and not)
//! ```
//!
//! At the end of its input it exits at once, whatever it holds.

use std::collections::HashMap;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use dlock::LockPool;
use dlock_tests::{Counter, Db, Guarded, Held, pool_of};
use sea_orm::DatabaseConnection;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::time::sleep;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("dlock-peer URL")?;
    match pool_of(&url) {
        Some(_) => serve(<LockPool as Db>::open(&url, 8).await).await,
        None => serve(DatabaseConnection::open(&url, 8).await).await,
    }
}

async fn serve(db: impl Db) -> Result<(), Box<dyn Error>> {
    let mut peer = Peer {
        db,
        held: HashMap::new(),
    };
    println!("ready");
    let mut orders = BufReader::new(stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        let words: Vec<&str> = order.split(' ').collect();
        match peer.obey(&words).await {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("error {}", with_causes(&*error)),
        }
    }
    std::process::exit(0)
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

struct Peer<D> {
    db: D,
    held: HashMap<i64, Held>,
}

impl<D: Db> Peer<D> {
    async fn obey(&mut self, order: &[&str]) -> Result<String, Box<dyn Error>> {
        match *order {
            ["acquire", key, way, limit] => {
                self.acquire(key, way, Duration::from_millis(limit.parse()?))
                    .await
            }
            ["try", key, way] => {
                let (key, way): (i64, dlock_tests::Way) = (key.parse()?, way.parse()?);
                let got = way.try_acquire(&self.db, key).await?;
                let answer = if got.is_some() { "held" } else { "busy" };
                self.held.extend(got.map(|held| (key, held)));
                Ok(answer.to_owned())
            }
            ["release", key] => {
                let held = self.held.remove(&key.parse()?).ok_or("it is not held")?;
                held.release().await?;
                Ok("released".to_owned())
            }
            ["raise", counter, key, tasks, rounds] => {
                let guarded = match (key, key.strip_prefix("mixed:")) {
                    ("-", _) => Guarded::Not,
                    (_, Some(key)) => Guarded::InAllWays(key.parse()?),
                    (key, None) => Guarded::By(key.parse()?),
                };
                let (tasks, rounds) = (tasks.parse()?, rounds.parse()?);
                Counter::named(counter)
                    .raise_in_tasks(&self.db, guarded, tasks, rounds)
                    .await?;
                Ok("raised".to_owned())
            }
            _ => Err(format!("what is {order:?}?").into()),
        }
    }

    async fn acquire(
        &mut self,
        key: &str,
        way: &str,
        limit: Duration,
    ) -> Result<String, Box<dyn Error>> {
        let (key, way): (i64, dlock_tests::Way) = (key.parse()?, way.parse()?);
        let mut acquire = pin!(way.acquire(&self.db, key, limit));
        let answer = tokio::select! {
            answer = &mut acquire => answer,
            () = contended(&self.db) => {
                println!("waiting");
                acquire.await
            }
        };
        match answer {
            Ok(held) => {
                self.held.insert(key, held);
                Ok("held".to_owned())
            }
            Err(dlock::Error::Timeout { waited, .. }) => {
                Ok(format!("timeout {}", waited.as_millis()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Until the server has said that somebody else holds the lock.
fn contended(db: &impl Db) -> impl Future<Output = ()> {
    let pool = db.lock_pool();
    // From now, and not from its first poll: the answer may come before that.
    let before = pool.status().counters.contended;
    async move {
        while pool.status().counters.contended == before {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
