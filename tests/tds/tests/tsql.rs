//! The statements that are understood, and that others are not.

use dlock_tds::{Reply, Value};
use tiberius::Row;

use crate::client::{
    Client, app_locks, ask, code, config, connect, connect_as, get, mode, soon, spid,
};

async fn row(client: &mut Client, sql: &str) -> Row {
    client
        .simple_query(sql)
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .expect("a row")
}

async fn error(client: &mut Client, sql: &str) -> u32 {
    code(&ask(client, sql).await.unwrap_err())
}

#[tokio::test]
async fn one_batch_releases_and_takes() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    assert_eq!(get(&mut client, "old", "Exclusive", 0).await, 0);
    let sql = "DECLARE @r0 int, @r1 int;
        EXEC @r0 = sp_releaseapplock @Resource = @P1, @LockOwner = N'Session';
        EXEC @r1 = sp_getapplock @Resource = @P2, @LockMode = @P3, @LockOwner = N'Session', @LockTimeout = @P4;
        SELECT @r0, @r1;";
    let stream = client
        .query(sql, &[&"old", &"new", &"Update", &0])
        .await
        .unwrap();
    let row = stream.into_row().await.unwrap().unwrap();
    assert_eq!(
        (row.get::<i32, _>(0), row.get::<i32, _>(1)),
        (Some(0), Some(0))
    );
    assert_eq!(
        (
            &*mode(&mut client, "old").await,
            &*mode(&mut client, "new").await
        ),
        ("NoLock", "Update")
    );
}

#[tokio::test]
async fn while_releases_all_of_a_lock() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    for _ in 0..4 {
        assert_eq!(get(&mut client, "all", "Exclusive", 0).await, 0);
    }
    let sql =
        "DECLARE @r0 int; EXEC @r0 = sp_releaseapplock @Resource = @P1, @LockOwner = N'Session';
        WHILE @r0 = 0 AND APPLOCK_MODE(N'public', @P1, N'Session') <> N'NoLock'
            EXEC @r0 = sp_releaseapplock @Resource = @P1, @LockOwner = N'Session';
        SELECT @r0;";
    let row = soon(client.query(sql, &[&"all"]))
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(0));
    assert!(server.locks().entries().is_empty());
}

#[tokio::test]
async fn a_batch_of_512_parameters_takes_512_locks() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let names: Vec<String> = (0..512)
        .map(|number| format!("{number} {}", "n".repeat(200)))
        .collect();
    let parameters: Vec<&dyn tiberius::ToSql> = names
        .iter()
        .map(|name| name as &dyn tiberius::ToSql)
        .collect();
    let declared: Vec<String> = (1..=512).map(|number| format!("@r{number} int")).collect();
    let calls = (1..=512).map(|number| {
        format!(
            "EXEC @r{number} = sp_getapplock @Resource = @P{number}, @LockMode = N'Exclusive', \
             @LockOwner = N'Session', @LockTimeout = 0; "
        )
    });
    let results: Vec<String> = (1..=512).map(|number| format!("@r{number}")).collect();
    let sql = format!(
        "DECLARE {}; {}SELECT {}",
        declared.join(", "),
        calls.collect::<String>(),
        results.join(", ")
    );
    let row = client
        .query(sql, &parameters)
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        row.into_iter()
            .map(
                |value| if let tiberius::ColumnData::I32(Some(code)) = value {
                    code
                } else {
                    -1
                }
            )
            .collect::<Vec<_>>(),
        [0; 512]
    );
    assert_eq!(server.locks().entries().len(), 512);
    assert!(
        names
            .iter()
            .all(|name| server.locks().holders(name).len() == 1)
    );
}

#[tokio::test]
async fn a_session_can_be_asked_about_itself() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let id = spid(&mut client).await;
    let about = row(
        &mut client,
        "select @@spid, db_name(), APP_NAME(), 7, -8, 5000000000, N'it''s', NULL",
    )
    .await;
    assert_eq!(about.get::<i16, _>(0), Some(id.0));
    assert_eq!(
        (about.get::<&str, _>(1), about.get::<&str, _>(2)),
        (Some("tests"), Some("tests of dlock-tds"))
    );
    assert_eq!(
        (
            about.get::<i32, _>(3),
            about.get::<i32, _>(4),
            about.get::<i64, _>(5)
        ),
        (Some(7), Some(-8), Some(5_000_000_000))
    );
    assert_eq!(
        (about.get::<&str, _>(6), about.get::<i32, _>(7)),
        (Some("it's"), None)
    );
}

#[tokio::test]
async fn a_client_that_names_no_database_is_in_master() {
    let server = app_locks().await;
    let mut config = config(&server);
    config.database("");
    let mut client = connect_as(config).await.unwrap();
    assert_eq!(
        row(&mut client, "SELECT DB_NAME()").await.get::<&str, _>(0),
        Some("master")
    );
}

#[tokio::test]
async fn a_database_says_whether_it_can_be_written() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let sql = "SELECT CONVERT(nvarchar(60), DATABASEPROPERTYEX(DB_NAME(), N'Updateability'))";
    assert_eq!(
        row(&mut client, sql).await.get::<&str, _>(0),
        Some("READ_WRITE")
    );
    server.locks().set_read_only(true);
    assert_eq!(
        row(&mut client, sql).await.get::<&str, _>(0),
        Some("READ_ONLY")
    );
    let sql = "SELECT DATABASEPROPERTYEX(N'another', N'Updateability')";
    assert_eq!(row(&mut client, sql).await.get::<&str, _>(0), None);
}

#[tokio::test]
async fn applock_test_says_what_would_be_granted_at_once() {
    let server = app_locks().await;
    let (mut holder, mut client) = (connect(&server).await, connect(&server).await);
    assert_eq!(get(&mut holder, "test", "Update", 0).await, 0);
    for (mode, expected) in [("Shared", 1), ("Update", 0), ("Exclusive", 0)] {
        let sql = format!("SELECT APPLOCK_TEST(N'public', N'test', N'{mode}', N'Session')");
        assert_eq!(
            row(&mut client, &sql).await.get::<i16, _>(0),
            Some(expected),
            "{mode}"
        );
        assert_eq!(
            row(&mut holder, &sql).await.get::<i16, _>(0),
            Some(1),
            "{mode}"
        );
    }
    assert_eq!(server.locks().entries().len(), 1);
}

#[tokio::test]
async fn settings_that_change_nothing_are_accepted() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let sql = "SET NOCOUNT ON; SET XACT_ABORT OFF; SET LOCK_TIMEOUT -1;;";
    assert!(
        client
            .simple_query(sql)
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap()
            .is_empty()
    );
    for sql in [
        "SET XACT_ABORT ON",
        "SET LOCK_TIMEOUT 5",
        "SET ANSI_NULLS ON",
    ] {
        assert_eq!(error(&mut client, sql).await, 102, "{sql}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_loud_and_nothing_of_its_batch_happens() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let get =
        "EXEC sp_getapplock @Resource = N'loud', @LockMode = N'Exclusive', @LockOwner = N'Session'";
    for (sql, expected) in [
        ("SELEC 1", 102),
        ("SELECT", 102),
        ("SELECT 1 2", 102),
        ("SELECT 1 SELECT 2", 102),
        ("SELECT 1 + 1", 102),
        ("SELECT 1 AS one", 102),
        ("-- comment", 102),
        ("BEGIN TRANSACTION", 102),
        ("DECLARE @a bigint", 102),
        ("WHILE @P1 SELECT 1", 137),
        ("SELECT @unknown", 137),
        ("DECLARE @a int, @A int", 134),
        ("SELECT N'open", 105),
        ("SELECT GETDATE()", 195),
        ("SELECT DB_NAME(1)", 195),
        ("EXEC sp_who", 2812),
        ("SELECT CONVERT(int, DB_NAME())", 102),
        ("KILL me", 102),
    ] {
        let sql = format!("{get}; {sql}");
        assert_eq!(error(&mut client, &sql).await, expected, "{sql}");
    }
    assert!(server.locks().entries().is_empty());
    for (call, expected) in [
        (
            "sp_getapplock @Resource = N'a', @LockOwner = N'Session'",
            201,
        ),
        ("sp_releaseapplock @Name = N'a'", 8145),
    ] {
        assert_eq!(
            error(&mut client, &format!("EXEC {call}")).await,
            expected,
            "{call}"
        );
    }
}

#[tokio::test]
async fn dm_tran_locks_shows_who_holds_and_who_waits() {
    let server = app_locks().await;
    let (mut holder, mut reader, mut waiter) = (
        connect(&server).await,
        connect(&server).await,
        connect(&server).await,
    );
    let (holder_id, waiter_id) = (spid(&mut holder).await, spid(&mut waiter).await);
    let name = "a name that is longer than 32 characters: €";
    assert_eq!(get(&mut holder, name, "Exclusive", 0).await, 0);
    let waiting = tokio::spawn(async move { get(&mut waiter, name, "Update", -1).await });
    soon(server.locks().until_waiting(name, 1)).await;
    let rows = reader
        .simple_query("SELECT * FROM sys.dm_tran_locks WHERE whatever = 1")
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.get::<&str, _>("request_mode"),
                row.get::<&str, _>("request_status"),
                row.get::<i32, _>("request_session_id"),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some("X"), Some("GRANT"), Some(holder_id.0.into())),
            (Some("U"), Some("WAIT"), Some(waiter_id.0.into()))
        ]
    );
    for row in &rows {
        let description = row.get::<&str, _>("resource_description").unwrap();
        let hash = description
            .strip_prefix("0:[a name that is longer than 32 ch]:(")
            .unwrap()
            .strip_suffix(')')
            .unwrap();
        assert!(
            hash.len() == 8 && hash.chars().all(|digit| digit.is_ascii_hexdigit()),
            "{description}"
        );
        assert_eq!(
            row.get::<&str, _>("program_name"),
            Some("tests of dlock-tds")
        );
    }
    drop(holder);
    assert_eq!(soon(waiting).await.unwrap(), 1);
}

#[tokio::test]
async fn dm_tran_locks_can_be_denied() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    server.locks().deny_view_server_state(true);
    assert_eq!(
        error(&mut client, "SELECT 1 FROM sys.dm_tran_locks").await,
        300
    );
    server.locks().deny_view_server_state(false);
    assert!(
        client
            .simple_query("SELECT 1 FROM sys.dm_tran_locks")
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn an_answer_can_be_made_up() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    server.locks().answer_first(|request| {
        request
            .sql
            .contains("sp_getapplock")
            .then(|| Reply::row([-2]))
    });
    assert_eq!(get(&mut client, "made up", "Exclusive", 0).await, -2);
    assert_eq!(mode(&mut client, "made up").await, "NoLock");
    server.locks().answer_first(|_| None);
    server.locks().answer_last(|request, reply| {
        if request.sql.contains("sp_getapplock") {
            Reply::row([Value::Null])
        } else {
            reply
        }
    });
    let sql = "DECLARE @r int; EXEC @r = sp_getapplock @Resource = N'made up', @LockMode = N'Shared', @LockOwner = N'Session'; SELECT @r";
    assert_eq!(row(&mut client, sql).await.get::<i32, _>(0), None);
    assert_eq!(mode(&mut client, "made up").await, "Shared");
    server.locks().answer_plainly();
    assert_eq!(get(&mut client, "made up", "Exclusive", 0).await, 0);
}
