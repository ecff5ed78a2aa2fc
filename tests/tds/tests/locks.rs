//! What `sp_getapplock` and `sp_releaseapplock` promise to one session, and to two.

use dlock_tds::{Mode, Status};

use crate::client::{
    app_locks, ask, code, config, connect, connect_as, get, mode, release, soon, spid,
};

const MODES: [&str; 3] = ["Shared", "Update", "Exclusive"];

#[tokio::test]
async fn modes_exclude_each_other_as_documented() {
    let server = app_locks().await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    for (held, beside) in [
        ("Shared", [true, true, false]),
        ("Update", [true, false, false]),
        ("Exclusive", [false; 3]),
    ] {
        assert_eq!(get(&mut first, "modes", held, 0).await, 0);
        assert_eq!(mode(&mut first, "modes").await, held);
        for (asked, is_granted) in MODES.into_iter().zip(beside) {
            assert_eq!(
                get(&mut second, "modes", asked, 0).await,
                if is_granted { 0 } else { -1 },
                "{asked} beside {held}"
            );
            assert_eq!(
                mode(&mut second, "modes").await,
                if is_granted { asked } else { "NoLock" }
            );
            if is_granted {
                assert_eq!(release(&mut second, "modes").await.unwrap(), 0);
            }
        }
        assert_eq!(release(&mut first, "modes").await.unwrap(), 0);
    }
    assert!(server.locks().entries().is_empty());
}

#[tokio::test]
async fn a_lock_is_released_as_often_as_it_was_taken() {
    let server = app_locks().await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    for _ in 0..3 {
        assert_eq!(get(&mut first, "often", "Exclusive", 0).await, 0);
    }
    assert_eq!(server.locks().holders("often")[0].count, 3);
    for _ in 0..3 {
        assert_eq!(get(&mut second, "often", "Exclusive", 0).await, -1);
        assert_eq!(release(&mut first, "often").await.unwrap(), 0);
    }
    assert_eq!(get(&mut second, "often", "Exclusive", 0).await, 0);
}

#[tokio::test]
async fn a_second_mode_leaves_the_stronger_until_both_are_released() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    for (weak, strong) in [
        ("Shared", "Update"),
        ("Shared", "Exclusive"),
        ("Update", "Exclusive"),
    ] {
        for (first, second) in [(weak, strong), (strong, weak)] {
            assert_eq!(get(&mut client, "both", first, 0).await, 0);
            assert_eq!(get(&mut client, "both", second, 0).await, 0);
            assert_eq!(mode(&mut client, "both").await, strong);
            assert_eq!(release(&mut client, "both").await.unwrap(), 0);
            assert_eq!(mode(&mut client, "both").await, strong);
            assert_eq!(release(&mut client, "both").await.unwrap(), 0);
            assert_eq!(mode(&mut client, "both").await, "NoLock");
        }
    }
}

#[tokio::test]
async fn a_conversion_that_others_are_in_the_way_of_is_refused_and_the_weaker_mode_kept() {
    let server = app_locks().await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    assert_eq!(get(&mut first, "convert", "Shared", 0).await, 0);
    assert_eq!(get(&mut second, "convert", "Shared", 0).await, 0);
    assert_eq!(get(&mut first, "convert", "Exclusive", 0).await, -1);
    assert_eq!(mode(&mut first, "convert").await, "Shared");
    assert_eq!(get(&mut first, "convert", "Update", 0).await, 0);
    assert_eq!(get(&mut second, "convert", "Update", 0).await, -1);
    assert_eq!(
        server
            .locks()
            .holders("convert")
            .iter()
            .map(|entry| entry.mode)
            .collect::<Vec<_>>(),
        [Mode::Update, Mode::Shared]
    );
}

#[tokio::test]
async fn what_is_not_held_cannot_be_released_and_the_batch_goes_on() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let error = release(&mut client, "not held").await.unwrap_err();
    let tiberius::error::Error::Server(token) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((token.code(), token.class(), token.state()), (1223, 16, 1));
    assert!(
        token.message().contains("'not held'"),
        "{}",
        token.message()
    );
    let sql = "DECLARE @r int; EXEC @r = sp_releaseapplock @Resource = N'not held', @LockOwner = N'Session'; SELECT @r";
    let rows: Vec<i32> = rows_before_the_error(&mut client, sql).await;
    assert_eq!(rows, [-999]);
}

async fn rows_before_the_error(client: &mut crate::client::Client, sql: &str) -> Vec<i32> {
    use futures_util::TryStreamExt;
    let mut stream = client.simple_query(sql).await.unwrap();
    let mut numbers = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(Some(item)) => {
                numbers.extend(item.into_row().map(|row| row.get::<i32, _>(0).unwrap()))
            }
            Ok(None) => panic!("no error"),
            Err(_) => return numbers,
        }
    }
}

#[tokio::test]
async fn what_another_session_holds_cannot_be_released() {
    let server = app_locks().await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    assert_eq!(get(&mut first, "mine", "Exclusive", 0).await, 0);
    assert_eq!(code(&release(&mut second, "mine").await.unwrap_err()), 1223);
    assert_eq!(mode(&mut first, "mine").await, "Exclusive");
}

#[tokio::test]
async fn names_are_case_sensitive_and_cut_at_255_units() {
    let server = app_locks().await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    assert_eq!(get(&mut first, "Name", "Exclusive", 0).await, 0);
    assert_eq!(get(&mut second, "name", "Exclusive", 0).await, 0);
    let (long, same, other) = (
        "ä".repeat(255),
        "ä".repeat(255) + "1",
        "ä".repeat(254) + "1",
    );
    assert_eq!(get(&mut first, &long, "Exclusive", 0).await, 0);
    assert_eq!(get(&mut second, &same, "Exclusive", 0).await, -1);
    assert_eq!(get(&mut second, &other, "Exclusive", 0).await, 0);
    // 😀 are two units, so 127 of them leave room for one more unit.
    let wide = "😀".repeat(127);
    assert_eq!(
        get(&mut first, &(wide.clone() + "ab"), "Exclusive", 0).await,
        0
    );
    assert_eq!(
        get(&mut second, &(wide.clone() + "ac"), "Exclusive", 0).await,
        -1
    );
    assert_eq!(get(&mut second, &(wide + "b"), "Exclusive", 0).await, 0);
}

#[tokio::test]
async fn the_same_name_in_another_database_is_another_lock() {
    let server = app_locks().await;
    let mut first = connect(&server).await;
    let mut config = config(&server);
    config.database("elsewhere");
    let mut second = connect_as(config).await.unwrap();
    assert_eq!(get(&mut first, "scope", "Exclusive", 0).await, 0);
    assert_eq!(get(&mut second, "scope", "Exclusive", 0).await, 0);
    assert_eq!(
        server
            .locks()
            .holders("scope")
            .iter()
            .map(|entry| &*entry.database)
            .collect::<Vec<_>>(),
        ["elsewhere", "tests"]
    );
}

#[tokio::test]
async fn bad_parameters_are_told_by_an_error_and_a_status() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let calls = [
        (
            "sp_getapplock @Resource = NULL, @LockMode = N'Shared', @LockOwner = N'Session'",
            1224,
        ),
        (
            "sp_getapplock @Resource = N'a', @LockMode = N'Strong', @LockOwner = N'Session'",
            1225,
        ),
        (
            "sp_getapplock @Resource = N'a', @LockMode = N'Shared', @LockOwner = N'Me'",
            1226,
        ),
        (
            "sp_getapplock @Resource = N'a', @LockMode = N'Shared'",
            1226,
        ),
        (
            "sp_getapplock @Resource = N'a', @LockMode = N'Shared', @LockOwner = N'Session', @LockTimeout = -2",
            1227,
        ),
        (
            "sp_getapplock @Resource = N'a', @LockMode = N'Shared', @LockOwner = N'Session', @DbPrincipal = N'nobody'",
            1230,
        ),
        (
            "sp_releaseapplock @Resource = NULL, @LockOwner = N'Session'",
            1224,
        ),
        (
            "sp_releaseapplock @Resource = N'a', @LockOwner = N'Transaction'",
            1226,
        ),
    ];
    for (call, expected) in calls {
        let sql = format!("DECLARE @r int; EXEC @r = {call}; SELECT @r");
        let error = ask(&mut client, &sql).await.unwrap_err();
        assert_eq!(code(&error), expected, "{call}");
        assert_eq!(
            rows_before_the_error(&mut client, &sql).await,
            [-999],
            "{call}"
        );
    }
    assert!(server.locks().entries().is_empty());
}

#[tokio::test]
async fn a_session_that_ends_frees_all_that_it_held() {
    let server = app_locks().await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    let id = spid(&mut first).await;
    for (name, mode) in [
        ("one", "Exclusive"),
        ("one", "Exclusive"),
        ("two", "Shared"),
        ("three", "Update"),
    ] {
        assert_eq!(get(&mut first, name, mode, 0).await, 0);
    }
    assert!(
        server
            .locks()
            .entries()
            .iter()
            .all(|entry| entry.session == id && entry.status == Status::Granted)
    );
    drop(first);
    soon(server.sessions().ended(id)).await;
    assert!(server.locks().entries().is_empty());
    for name in ["one", "two", "three"] {
        assert_eq!(get(&mut second, name, "Exclusive", 0).await, 0);
    }
}
