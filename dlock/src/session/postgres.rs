//! A PostgreSQL session by sqlx. A `PgListener` lets one connection execute and, while it is idle, notice that it was closed; nothing is listened for.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgRow};
use sea_orm::sqlx::{self, Acquire, AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use sea_orm::{DbErr, RuntimeErr};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Answer, Answers, Application, Batch, ConnectSettings, Connector, Opener, Request, Session,
};
use crate::dialect::Dialect;
use crate::dialect::postgres::{self as dialect, Arm, Postgres};
use crate::error::{Error, Phase};
use crate::key::PhysicalKey;
use crate::mode::Mode;
use crate::pool::{Closed, Holder, ServerLock};

/// How long a server that refuses connections may take to come (back) up.
const STARTUP: Duration = Duration::from_secs(5);

/// Opens sessions like the application's own connections: its hooks, its TLS, its password of today.
pub(crate) struct PgConnector {
    pool: PgPoolOptions,
    connect: Mutex<Arc<PgConnectOptions>>,
    trust_session_pooling: bool,
    /// The settings of a lock session, for the whole of its life.
    settings: [(&'static str, String); 9],
}

impl PgConnector {
    fn new(pool: &PgPool, settings: ConnectSettings) -> Self {
        let ConnectSettings {
            keepalive,
            trust_session_pooling,
        } = settings;
        // A session of the application's may be recycled, counted and cleaned (`DISCARD ALL` frees the locks); a lock session may not.
        let options = (pool.options().clone())
            .max_connections(1)
            .min_connections(0)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|_, _| Box::pin(async { Ok(true) }));
        let seconds = keepalive.as_secs().clamp(1, 3600);
        let probe = (seconds / 3).max(1);
        let settings = [
            // What ends a statement or a session from outside must not end a lock.
            ("statement_timeout", "0".into()),
            ("lock_timeout", "0".into()),
            ("idle_session_timeout", "0".into()),
            ("idle_in_transaction_session_timeout", "0".into()),
            // What tells the server that this process is gone: killed while it waits, or its host cut off.
            ("client_connection_check_interval", "500ms".into()),
            ("tcp_keepalives_idle", seconds.to_string()),
            ("tcp_keepalives_interval", probe.to_string()),
            ("tcp_keepalives_count", "3".into()),
            ("tcp_user_timeout", (2000 * seconds).to_string()),
        ];
        Self {
            pool: options,
            connect: Mutex::new(pool.connect_options()),
            trust_session_pooling,
            settings,
        }
    }

    fn options(&self, token: &str) -> PgConnectOptions {
        let connect = self.connect.lock().unwrap_or_else(PoisonError::into_inner);
        let options = PgConnectOptions::clone(&connect).disable_statement_logging();
        match self.trust_session_pooling {
            true => options,
            false => options.options([(dialect::SESSION_TOKEN, token)]),
        }
    }
}

impl Application for PgPool {
    /// The address of the options inside the pool stays what it is as long as the pool lives.
    fn identity(&self) -> usize {
        std::ptr::from_ref(self.options()).addr()
    }

    fn is_closed(&self) -> bool {
        PgPool::is_closed(self)
    }

    fn closed(&self) -> Closed {
        Box::pin(self.close_event())
    }

    fn opener(&self, settings: ConnectSettings) -> Opener {
        Opener::new(PgConnector::new(self, settings))
    }

    fn refresh(&self, connector: &dyn Any) {
        if let Some(connector) = connector.downcast_ref::<PgConnector>() {
            let mut connect = connector
                .connect
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *connect = self.connect_options();
        }
    }
}

impl Connector for PgConnector {
    type Session = PgSession;

    fn dialect(&self) -> &'static dyn Dialect {
        &Postgres
    }

    async fn connect(&self) -> Result<PgSession, Error> {
        let token = format!("{:032x}", fastrand::u128(..));
        let options = self.options(&token);
        let opened = tokio::select! {
            opened = PgSession::open(self.pool.clone(), options.clone()) => opened,
            error = cannot_connect(&options) => Err(error),
        };
        let mut session = opened.map_err(refused)?;
        let checked = session.check(&token, self).await;
        match checked {
            Ok(()) => Ok(session),
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }
}

/// sqlx's pool goes on for its whole `acquire_timeout` when the server refuses, and then hides why. Resolves with the reason, if there is one.
async fn cannot_connect(options: &PgConnectOptions) -> sqlx::Error {
    let patience = Instant::now() + STARTUP;
    loop {
        sleep(STARTUP / 20).await;
        match options.connect().await {
            Ok(probe) => {
                drop(probe.close().await);
                return std::future::pending().await;
            }
            Err(error) if is_starting(&error) && Instant::now() < patience => {}
            Err(error) => return error,
        }
    }
}

/// Refused by the operating system, or by a server that starts or stops (57P03).
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(io) => io.kind() == std::io::ErrorKind::ConnectionRefused,
        other => code(other) == Some("57P03"),
    }
}

fn code(error: &sqlx::Error) -> Option<&str> {
    match error
        .as_database_error()?
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
    {
        Some(error) => Some(error.code()),
        None => None,
    }
}

/// A proxy that knows no start-up option of ours says so in words.
fn refused(error: sqlx::Error) -> Error {
    let pooler = error.as_database_error().is_some_and(|error| {
        let message = error.message();
        message.contains("startup parameter") || message.contains(dialect::SESSION_TOKEN)
    });
    match pooler {
        true => POOLER,
        false => Phase::Connect.failed(db(error)),
    }
}

const POOLER: Error = Error::Unsupported {
    backend: "a connection pooler in front of PostgreSQL",
    feature: "session locks",
    hint: "a pooler that shares server sessions orphans them: name a direct connection with `LockPool::builder(&db).sessions_from(&direct)`, \
           use `txn.dlock(key).xact()`, or, if it pools whole sessions, `.trust_session_pooling()`",
};

const STANDBY: Error = Error::Unsupported {
    backend: "a PostgreSQL hot standby",
    feature: "locks",
    hint: "its locks exclude nobody on the primary: connect to the primary",
};

const COCKROACH: Error = Error::Unsupported {
    backend: "CockroachDB",
    feature: "advisory locks",
    hint: "it accepts the calls and locks nothing: use a PostgreSQL server for locks",
};

fn db(error: sqlx::Error) -> DbErr {
    let error = Arc::new(error);
    match &*error {
        sqlx::Error::Database(_) => DbErr::Query(RuntimeErr::SqlxError(error)),
        _ => DbErr::Conn(RuntimeErr::SqlxError(error)),
    }
}

/// One connection, for the whole of its life.
pub(crate) struct PgSession {
    listener: PgListener,
    /// The listener's pool of one, closed from the start: a lost connection is never opened again behind our back.
    pool: PgPool,
    can_wait: bool,
}

impl PgSession {
    async fn open(pool: PgPoolOptions, options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = pool.connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        drop(pool.close());
        Ok(Self {
            listener,
            pool,
            can_wait: false,
        })
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.listener.acquire().await
    }

    /// Is this a session of our own, on a server whose locks count? Then it gets its settings.
    async fn check(&mut self, token: &str, connector: &PgConnector) -> Result<(), Error> {
        let failed = |error| Phase::Connect.failed(db(error));
        let row = self.row(dialect::version()).await.map_err(failed)?;
        if row.get::<String, _>(0).contains("CockroachDB") {
            return Err(COCKROACH);
        }
        let row = self.row(dialect::server()).await.map_err(failed)?;
        let found: Option<String> = row.get(0);
        if found.as_deref() != Some(token) && !connector.trust_session_pooling {
            return Err(POOLER);
        }
        if row.get(1) {
            return Err(STANDBY);
        }
        self.can_wait = row.get(2);
        let application: Option<String> = row.get(3);
        let name = match application.as_deref() {
            None | Some("") => "dlock".to_owned(),
            Some(application) => format!("{application} dlock"),
        };
        self.set("application_name", &name).await;
        for (setting, value) in &connector.settings {
            self.set(setting, value).await;
        }
        Ok(())
    }

    async fn row(&mut self, sql: String) -> Result<PgRow, sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        query.fetch_one(self.connection().await?).await
    }

    /// An older server lacks some settings, another platform refuses some: the lock is sound without them.
    async fn set(&mut self, setting: &str, value: &str) {
        let query = sqlx::query(AssertSqlSafe(dialect::set_session()))
            .bind(setting)
            .bind(value);
        let result = match self.connection().await {
            Ok(connection) => query.execute(connection).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::debug!(setting, value, %error, "dlock: setting refused by the server");
        }
    }

    /// The whole batch as one statement.
    async fn ask(&mut self, batch: &Batch) -> Result<Vec<bool>, sqlx::Error> {
        let releases = batch.releases.iter().map(|request| (true, request));
        let tries = batch.tries.iter().map(|request| (false, request));
        let mut keys: [Vec<i64>; Arm::COUNT] = Default::default();
        let mut places: [Vec<usize>; Arm::COUNT] = Default::default();
        for (place, (release, request)) in releases.chain(tries).enumerate() {
            let arm = Arm::of(release, request.mode, &request.key).index();
            keys[arm].push(dialect::packed(&request.key));
            places[arm].push(place);
        }
        let present = keys.each_ref().map(|keys| !keys.is_empty());
        let mut query = sqlx::query(AssertSqlSafe(dialect::batch(present)));
        for keys in keys.into_iter().filter(|keys| !keys.is_empty()) {
            query = query.bind(keys);
        }
        let rows = query.fetch_all(self.connection().await?).await?;
        let places = places.into_iter().flatten();
        let mut answers = vec![false; batch.releases.len() + batch.tries.len()];
        if rows.len() != answers.len() {
            return Err(sqlx::Error::Protocol(format!(
                "{} requests, {} answers",
                answers.len(),
                rows.len()
            )));
        }
        for (place, row) in places.zip(rows) {
            answers[place] = row.try_get(0)?;
        }
        Ok(answers)
    }

    /// After a statement that failed half-way the server alone knows what it did: one request after the other, each only if it still has to be.
    async fn settle(&mut self, batch: &Batch) -> Result<Answers, DbErr> {
        let mut answers = Answers::default();
        for request in &batch.releases {
            let answer = match self.holds(request).await? {
                true => self.settle_one(request, true).await?,
                false => Answer::Yes,
            };
            answers.releases.push(answer);
        }
        for request in &batch.tries {
            let answer = match self.holds(request).await? {
                true => Answer::Yes,
                false => self.settle_one(request, false).await?,
            };
            answers.tries.push(answer);
        }
        Ok(answers)
    }

    async fn settle_one(&mut self, request: &Request, release: bool) -> Result<Answer, DbErr> {
        let mut batch = Batch::default();
        match release {
            true => batch.releases.push(request.clone()),
            false => batch.tries.push(request.clone()),
        }
        match self.ask(&batch).await {
            Ok(answers) => Ok(answers[0].into()),
            Err(error) if error.as_database_error().is_none() => Err(db(error)),
            Err(error) => match self.holds(request).await? == release {
                true => Ok(Answer::Failed(explained(error))),
                false => Ok(Answer::Yes),
            },
        }
    }

    async fn holds(&mut self, request: &Request) -> Result<bool, DbErr> {
        let locks = self.locks().await?;
        Ok(locks.iter().any(|lock| {
            lock.holder.this_session
                && lock.granted
                && lock.key == request.key
                && lock.mode == request.mode
        }))
    }
}

/// A full lock table hits everybody on the server; the error says which setting to raise.
fn explained(error: sqlx::Error) -> DbErr {
    match code(&error) {
        Some("53200") => DbErr::Custom(format!(
            "{error}: PostgreSQL's lock table is full; raise max_locks_per_transaction (or max_connections), or hold fewer locks"
        )),
        _ => db(error),
    }
}

impl Session for PgSession {
    fn can_wait(&self) -> bool {
        self.can_wait
    }

    async fn exchange(&mut self, batch: &Batch) -> Result<Answers, DbErr> {
        match self.ask(batch).await {
            Ok(mut answers) => {
                let tries = answers.split_off(batch.releases.len());
                Ok(Answers {
                    releases: answers.into_iter().map(Answer::from).collect(),
                    tries: tries.into_iter().map(Answer::from).collect(),
                })
            }
            Err(error) if error.as_database_error().is_some() => self.settle(batch).await,
            Err(error) => Err(db(error)),
        }
    }

    async fn wait(&mut self, request: &Request, slice: Duration) -> Result<bool, DbErr> {
        let sql = dialect::wait(&request.key, request.mode, slice);
        let connection = self.connection().await.map_err(db)?;
        match sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_one(connection)
            .await
        {
            Ok(row) => row.try_get(0).map_err(db),
            Err(error) if error.as_database_error().is_none() => Err(db(error)),
            // Cancelled by an operator, say: the lock may have been granted all the same.
            Err(error) => {
                tracing::debug!(%error, "dlock: a wait was ended by the server");
                self.row(dialect::unlock_all()).await.map_err(db)?;
                Ok(false)
            }
        }
    }

    async fn ping(&mut self) -> Result<(), DbErr> {
        self.row(dialect::ping()).await.map(drop).map_err(db)
    }

    async fn locks(&mut self) -> Result<Vec<ServerLock>, DbErr> {
        let query = sqlx::query(AssertSqlSafe(dialect::locks()));
        let connection = self.connection().await.map_err(db)?;
        let rows = query.fetch_all(connection).await.map_err(db)?;
        rows.iter().map(|row| lock(row).map_err(db)).collect()
    }

    async fn gone(&mut self) -> DbErr {
        loop {
            match self.listener.try_recv().await {
                Ok(Some(_notification)) => {}
                Ok(None) => {
                    let closed = "the server closed the session";
                    return DbErr::Conn(RuntimeErr::Internal(closed.to_owned()));
                }
                Err(error) => return db(error),
            }
        }
    }

    async fn close(self) {
        let Self { listener, pool, .. } = self;
        drop(listener);
        drop(timeout(Duration::from_secs(1), pool.close()).await);
    }
}

fn lock(row: &PgRow) -> Result<ServerLock, sqlx::Error> {
    let shared = row.try_get(2)?;
    let key: PhysicalKey = dialect::unpacked(row.try_get(0)?, row.try_get(1)?);
    Ok(ServerLock {
        name: None,
        key,
        mode: if shared {
            Mode::Shared
        } else {
            Mode::Exclusive
        },
        granted: row.try_get(3)?,
        holder: Holder {
            this_session: row.try_get(4)?,
            session: i64::from(row.try_get::<i32, _>(5)?),
            application: row.try_get(6)?,
        },
    })
}
