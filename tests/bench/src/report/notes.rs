//! What one must know to read the numbers.

/// Before the tables.
pub(super) const HOW: &str = "\
Each sample is a process of its own (two, four or up to 60, where the work says so), which connects, warms up, and then starts on the word of the program that counts. All subjects are measured in turn, in \
another order in each round, so a machine that is slow for a while is slow for all. A number is the median of the rounds, in brackets the least and the greatest; a ratio is taken within each round, \
and the median of these is shown. p99 is the time within which 99 of 100 operations were done.

*One core*: client and servers are pinned to the same core, which shows the work that a lock is. *Two cores*, or more: as it comes, which shows the latency; on a virtual machine much of that is the \
waking of an idle core.

| lock | configuration |
|---|---|
| raw | one sqlx connection that locks and unlocks for 1 task, prepared: the limit of a server for one connection. The goals compare more tasks of dlock with this one, too; in the charts it is a level, not measured beyond 1 task. On a hot key and between processes a connection for each task, which blocks in `pg_advisory_lock` or `GET_LOCK`. On SQLite `BEGIN IMMEDIATE` and `ROLLBACK`. |
| dlock | `db.dlock(key).await?`, `guard.release().await?`, text keys, the default `LockPool`, which has at most 4 sessions where the pools of the others have 10 connections; (e) with `max_sessions(20)` |
| sqlx | `PgAdvisoryLock` on a `PgPool` of 10, without the test before each acquire, which is a round trip; that is sqlx's default, so it is measured, too, for 1 task |
| distributed-lock | the crate's providers for PostgreSQL and MySQL on a pool of 10 with the same options, without TLS |
| Redis | `SET key token NX PX` and the usual script that deletes, by `EVALSHA`, crate `redis`, one multiplexed connection. Who finds the lock taken tries again after 100 ms, redis-py's default (node-redlock waits for 200 ms), give or take a half, so that tasks do not retry in step. The second row has a tokio `Mutex` for each key in front, so that the tasks of a process do not retry against each other. No persistence. |
| sqlalchemy-dlock | SQLAlchemy's pool of 10, `AUTOCOMMIT`, nothing on return to the pool; asyncpg with a task, psycopg2 with a thread for each |
| PyMySQLLock | opens a connection for each lock; a timeout of 60 s, since MariaDB refuses its default |
";

/// What of it flatters, or looks worse than it is.
pub(super) const READ: &str = "\
- PyMySQL builds a TLS context for each connection, and PyMySQLLock opens a connection for each lock: its number is that, and not the lock. The row without TLS has `ssl_disabled=True`.
- In (a2) one task on tokio's current-thread runtime acquires a key of its own and drops the guard,
  again and again. The release travels with the next request, so a cycle can be one round trip.
  A raw connection has no guard to drop. It locks and unlocks, which is two round trips. On SQLite
  there is no server, and so no goal.
- On a hot key the locks that retry are fast because not all take part: who releases takes the lock again at once, while the others sleep. The number of tasks that got it at all during a sample stands beside it; in (b2) each \
task has to get it 10 times, however long that takes; between processes there is the share of the one that got it least.
- In (d) each asks again only when the other has had the time to get it, after 1 ms, with Redis 110 ms, and holds the lock for once to twice that time and 2 ms, so that the other waits for it. Without this a \
lock that retries would mostly go back to the process that released it. The time is that of the host's clock, which both processes share.
- In (c2) a grant of the server is a lock that a process got and that was not handed on within it, by the counters of `LockPool::status` (`acquired - handoffs`), so one task of the second process counts as much as all 64 \
of the first.
- In (c3) 20, 30 or 60 processes with 2 tasks each contend for one key. Each task acquires, holds for
  1 ms, releases and acquires again at once. tokio's timer has a resolution of 1 ms, so a hold lasts up
  to about 2 ms. All processes start at one instant of the host's clock. A sample is 15 times as long
  as the others, 3 s by default. The raw side is a connection for each task, which waits in
  `pg_advisory_lock` or `GET_LOCK`.
- In (c3) p99 and the longest wait are times of `acquire`. A wait that is open at the end of the sample
  counts in full. Jain's index over the grants x of n processes is (Σx)² / (n Σx²): 1 if all have
  the same number, 1/n if one has them all. A round in which a process fails has no numbers.
- The locks of Python have 1 and 64 tasks only, since a process of Python takes longer to start than to measure, and more tasks wait for the same 10 connections. Samples of 1,024 tasks are longer than \
the others, with more to warm up.
- sqlalchemy-dlock runs in one interpreter of Python with SQLAlchemy, which takes 0.5 ms and more for a cycle before the lock itself costs anything: its ratios are those of the languages and libraries, and not of \
the locks.
- With 1 task there is nothing to put together, so dlock needs the two round trips that one raw connection and sqlx need (three, when sqlx tests before each acquire), and its own work comes on top: a task that owns the connection, so that dropping a future never leaves a \
lock behind, and a queue for each key. So the first goals are out of reach; what they are short of is the price of that.
- In (f) another process, with the same library, has the key that all tasks try.
- MariaDB runs with `performance_schema` on, which dlock's tests need. It costs for each statement, and dlock puts many locks into one statement, so with many tasks it costs the others more for each lock: these ratios flatter dlock. PostgreSQL runs without fsync, Redis without persistence: no lock is written to a disk.
";
