//! A database of a scenario's own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use sea_orm::ConnectionTrait;

/// On which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server in `DLOCK_TEST_POSTGRES_URL`.
    Postgres,
    /// The server in `DLOCK_TEST_MARIADB_URL`.
    MariaDb,
    /// A file in a folder of its own.
    Sqlite,
}

/// A new, empty database.
#[derive(Debug)]
pub struct Database {
    /// Its name, like no other's on this server.
    pub name: String,
    /// Its URL.
    pub url: String,
    at: At,
}

#[derive(Debug)]
enum At {
    Server(String),
    Folder(PathBuf),
}

impl Database {
    /// Makes it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub async fn create(kind: Kind) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dlock_service_{}_{number}", process::id());
        let (url, at) = match kind {
            Kind::Postgres => on_server(dlock_tests::env("DLOCK_TEST_POSTGRES_URL"), &name).await,
            Kind::MariaDb => on_server(dlock_tests::env("DLOCK_TEST_MARIADB_URL"), &name).await,
            Kind::Sqlite => in_folder(&name),
        };
        Self { name, url, at }
    }

    /// Removes it.
    ///
    /// # Panics
    ///
    /// When it cannot be removed, because somebody still uses it, for example.
    pub async fn drop(self) {
        match self.at {
            At::Server(server) => execute(&server, &format!("DROP DATABASE {}", self.name)).await,
            At::Folder(folder) => fs::remove_dir_all(folder).expect("the folder can be removed"),
        }
    }
}

async fn on_server(server: String, name: &str) -> (String, At) {
    execute(&server, &format!("CREATE DATABASE {name}")).await;
    let (host, database) = server.rsplit_once('/').expect("it names a database");
    let options = database.find('?').map_or("", |start| &database[start..]);
    (format!("{host}/{name}{options}"), At::Server(server))
}

fn in_folder(name: &str) -> (String, At) {
    let folder = env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let url = format!("sqlite:{}?mode=rwc", folder.join("test.db").display());
    (url, At::Folder(folder))
}

async fn execute(server: &str, statement: &str) {
    let db = dlock_tests::connect(server, 1).await;
    let done = db.execute_unprepared(statement).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    db.close().await.expect("it can be closed");
}
