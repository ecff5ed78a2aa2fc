//! Migrations that several processes start together.

use std::process::Stdio;

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Statement};

use crate::stage::Stage;

/// Four processes migrate a database at once: each migration runs once, and all succeed.
///
/// # Panics
///
/// When that is not so.
pub async fn each_migration_runs_once(stage: &Stage) {
    let outputs = join_all((0..4).map(|_| stage.command().stdin(Stdio::null()).output())).await;
    let mut applied = Vec::new();
    for output in outputs {
        let output = output.expect("it starts");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {log}", output.status);
        applied.push(log.matches("has been applied").count());
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 3]);

    let db = dlock_tests::connect(stage.url(), 1).await;
    for (table, rows) in [
        ("seaql_migrations", 3),
        ("invoice", 3),
        ("account", 2),
        ("job", 1),
    ] {
        let count = format!("SELECT COUNT(*) FROM {table}");
        let count = Statement::from_string(db.get_database_backend(), count);
        let row = db.query_one_raw(count).await.expect("there is the table");
        let found: i64 = row.expect("one row").try_get_by_index(0).expect("a number");
        assert_eq!(found, rows, "{table}");
    }
    db.close().await.expect("it can be closed");
}
