//! Four processes raise one counter: read it, think for a millisecond, write one more. First without a lock, then with dlock.
//!
//! ```console
//! $ cargo run --example quickstart
//! $ DATABASE_URL=postgres://me:secret@localhost/mine cargo run --example quickstart
//! $ DATABASE_URL=mysql://me:secret@localhost/mine cargo run --example quickstart
//! ```
//!
//! The counter is a table of its own, which is dropped at the end; without `DATABASE_URL` it is in a SQLite database in a temporary folder. Beside a SQLite database of
//! yours the empty directory of its locks is left.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dlock::prelude::*;
use sea_orm::sea_query::{Alias, ColumnDef, Expr, Query, Table};
use sea_orm::sqlx::sqlite::SqliteSynchronous;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};
use tokio::process::Command;
use tokio::time::sleep;

const PROCESSES: u32 = 4;
const TASKS: u32 = 8;
const ROUNDS: u32 = 25;
const RAISES: u32 = PROCESSES * TASKS * ROUNDS;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => compare().await,
        ["worker", table, locked] => work(table, locked == "locked").await,
        _ => Err("quickstart takes no arguments; DATABASE_URL names a database".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What each process does: several tasks at once, one counter.
async fn work(table: &str, locked: bool) -> Result<(), Box<dyn Error>> {
    let db = connect(&env::var("DATABASE_URL")?).await?;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| tokio::spawn(raise_many_times(db.clone(), table.to_owned(), locked)))
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn raise_many_times(
    db: DatabaseConnection,
    table: String,
    locked: bool,
) -> Result<(), DbErr> {
    for _ in 0..ROUNDS {
        if locked {
            // All of dlock that is needed: nobody else is in here, in no process, until the body is done.
            db.dlock(&table)
                .run(async |_lock| raise(&db, &table).await)
                .await?;
        } else {
            raise(&db, &table).await?;
        }
    }
    Ok(())
}

async fn raise(db: &DatabaseConnection, table: &str) -> Result<(), DbErr> {
    let n = read(db, table).await?;
    sleep(Duration::from_millis(1)).await;
    let write = Query::update()
        .table(Alias::new(table))
        .value("n", n + 1)
        .to_owned();
    db.execute(&write).await?;
    Ok(())
}

async fn read(db: &DatabaseConnection, table: &str) -> Result<i64, DbErr> {
    let select = Query::select()
        .column("n")
        .from(Alias::new(table))
        .to_owned();
    let row = db.query_one(&select).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(table.to_owned()))?
        .try_get("", "n")
}

/// Both ways, one after the other.
async fn compare() -> Result<(), Box<dyn Error>> {
    let folder = Folder::create()?;
    let given = env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    let url = given.clone().unwrap_or_else(|| folder.database());
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(
            "processes do not share a database in memory: name a file, or no DATABASE_URL".into(),
        );
    }
    let db = connect(&url).await?;
    if given.is_none() {
        // In our own database writers do not wait for readers.
        db.execute_unprepared("PRAGMA journal_mode = WAL").await?;
    }
    println!(
        "{PROCESSES} processes with {TASKS} tasks each raise one counter on {:?}, {RAISES} times in all: read it, think for 1 ms, write one more.\n",
        db.get_database_backend()
    );
    let table = format!("dlock_quickstart_{}", std::process::id());
    create(&db, &table).await?;
    let compared = async {
        measure(&db, &url, &table, false).await?;
        measure(&db, &url, &table, true).await
    };
    let compared = compared.await;
    let dropped = db
        .execute(&Table::drop().table(Alias::new(&table)).to_owned())
        .await;
    let lost = compared?;
    dropped?;
    match lost {
        0 => Ok(()),
        lost => Err(format!("dlock lost {lost} updates: please report this").into()),
    }
}

/// How many updates were lost.
async fn measure(
    db: &DatabaseConnection,
    url: &str,
    table: &str,
    locked: bool,
) -> Result<u32, Box<dyn Error>> {
    let reset = Query::update()
        .table(Alias::new(table))
        .value("n", 0)
        .to_owned();
    db.execute(&reset).await?;
    let start = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..PROCESSES {
        let how = if locked { "locked" } else { "unlocked" };
        let worker = Command::new(env::current_exe()?)
            .args(["worker", table, how])
            .env("DATABASE_URL", url)
            .kill_on_drop(true)
            .spawn()?;
        workers.push(worker);
    }
    for mut worker in workers {
        let status = worker.wait().await?;
        if !status.success() {
            return Err(format!("a worker has failed: {status}").into());
        }
    }
    let took = start.elapsed().as_secs_f64();
    let counted = u32::try_from(read(db, table).await?)?;
    let lost = RAISES - counted;
    let who = if locked { "with dlock" } else { "without" };
    let verdict = match lost {
        0 => "no update lost".to_owned(),
        lost => format!("{lost} updates lost"),
    };
    println!(
        "{who:>12}  {}  {counted:3} of {RAISES}, {verdict}, {took:.2} s",
        bar(counted)
    );
    Ok(lost)
}

fn bar(counted: u32) -> String {
    const WIDTH: u32 = 40;
    let full = counted * WIDTH / RAISES;
    (0..WIDTH)
        .map(|place| if place < full { '█' } else { '░' })
        .collect()
}

async fn create(db: &DatabaseConnection, table: &str) -> Result<(), DbErr> {
    let table = Alias::new(table);
    let create = Table::create()
        .table(table.clone())
        .col(ColumnDef::new("n").big_integer().not_null())
        .to_owned();
    db.execute(&create).await?;
    let insert = Query::insert()
        .into_table(table)
        .columns(["n"])
        .values_panic([Expr::value(0)])
        .to_owned();
    db.execute(&insert).await?;
    Ok(())
}

async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(TASKS)
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false);
    // On SQLite: a crash may cost the last updates, which nobody will miss here.
    options.map_sqlx_sqlite_opts(|options| options.synchronous(SqliteSynchronous::Normal));
    Database::connect(options).await
}

/// A temporary folder, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> std::io::Result<Self> {
        let folder = env::temp_dir().join(format!("dlock-quickstart-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn database(&self) -> String {
        format!("sqlite:{}?mode=rwc", self.0.join("quickstart.db").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
