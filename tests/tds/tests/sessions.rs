//! Sessions, seen and ended from outside.

use dlock_tds::{Close, Cut, ServerError};
use tiberius::error::Error;

use crate::client::{
    Client, app_locks, ask, code, config, connect, connect_as, get, is_lost, soon, spid,
};

async fn failure(client: &mut Client) -> Error {
    ask(client, "SELECT 1")
        .await
        .expect_err("the session is over")
}

#[tokio::test]
async fn a_session_says_who_it_is() {
    let server = app_locks().await;
    let mut first = connect(&server).await;
    let mut config = config(&server);
    config.application_name("other");
    config.database("elsewhere");
    let mut second = connect_as(config).await.unwrap();
    let sessions = server.sessions().list();
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        (sessions[0].id, sessions[1].id),
        (spid(&mut first).await, spid(&mut second).await)
    );
    assert_eq!(
        (
            &*sessions[0].login.user,
            &*sessions[0].login.database,
            &*sessions[0].login.application
        ),
        ("me", "tests", "tests of dlock-tds")
    );
    assert_eq!(
        (
            &*sessions[1].login.database,
            &*sessions[1].login.application
        ),
        ("elsewhere", "other")
    );
    assert!(!sessions[0].encrypted);
}

#[tokio::test]
async fn a_session_leaves_the_list_when_its_client_goes() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let id = spid(&mut client).await;
    assert!(server.sessions().contains(id));
    drop(client);
    soon(server.sessions().ended(id)).await;
    assert!(!server.sessions().contains(id));
    assert!(!server.sessions().cut(id, Close::Fin));
}

#[tokio::test]
async fn an_idle_session_that_is_cut_is_lost() {
    let server = app_locks().await;
    for close in [Close::Fin, Close::Rst] {
        let mut client = connect(&server).await;
        let id = spid(&mut client).await;
        assert!(server.sessions().cut(id, close));
        soon(server.sessions().ended(id)).await;
        let error = failure(&mut client).await;
        assert!(is_lost(&error), "{close:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_idle_session_that_is_killed_hears_of_it_when_it_next_asks() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let id = spid(&mut client).await;
    assert!(server.sessions().kill(id));
    soon(server.sessions().ended(id)).await;
    assert_eq!(code(&failure(&mut client).await), 596);
    let error = failure(&mut client).await;
    assert!(is_lost(&error), "{error:?}");
}

#[tokio::test]
async fn a_waiting_session_that_is_killed_hears_of_it() {
    let server = app_locks().await;
    let (mut holder, mut waiter) = (connect(&server).await, connect(&server).await);
    let id = spid(&mut waiter).await;
    assert_eq!(get(&mut holder, "kill", "Exclusive", 0).await, 0);
    let waiting = tokio::spawn(async move {
        let sql = "DECLARE @r int; EXEC @r = sp_getapplock @Resource = N'kill', @LockMode = N'Exclusive', @LockOwner = N'Session'; SELECT @r";
        waiter.simple_query(sql).await?.into_results().await
    });
    soon(server.locks().until_waiting("kill", 1)).await;
    let kill = holder
        .simple_query(format!("KILL {id}"))
        .await
        .unwrap()
        .into_results()
        .await;
    assert!(kill.unwrap().is_empty());
    let error = soon(waiting).await.unwrap().unwrap_err();
    let Error::Server(token) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((token.code(), token.class()), (596, 21));
    soon(server.sessions().ended(id)).await;
    assert!(server.locks().waiters("kill").is_empty());
}

#[tokio::test]
async fn the_error_that_a_cut_sends_first_can_be_any() {
    let server = app_locks().await;
    server
        .locks()
        .answer_first(|_| Some(dlock_tds::Reply::Never));
    let mut client = connect(&server).await;
    let id = server.sessions().list()[0].id;
    let asked = tokio::spawn(async move { client.simple_query("q").await?.into_results().await });
    // Whether or not the request is there by now, its answer is this.
    assert!(server.sessions().cut(
        id,
        Cut {
            error: Some(ServerError::new(6005, 10, "SHUTDOWN is in progress.")),
            close: Close::Fin
        }
    ));
    let error = soon(asked).await.unwrap().unwrap_err();
    assert!(error.code() == Some(6005) || is_lost(&error), "{error:?}");
}

#[tokio::test]
async fn kill_knows_who_cannot_be_killed() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let own = spid(&mut client).await;
    for (id, expected) in [(own.0, 6104), (own.0 + 1, 6106)] {
        let error = ask(&mut client, &format!("KILL {id}")).await.unwrap_err();
        assert_eq!(code(&error), expected);
    }
    assert_eq!(spid(&mut client).await, own);
}

#[tokio::test]
async fn a_server_that_stops_accepting_refuses_and_keeps_what_is_open() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    server.stop_accepting().await;
    let error = connect_as(config(&server))
        .await
        .map(drop)
        .expect_err("it is refused");
    assert!(is_lost(&error), "{error:?}");
    spid(&mut client).await;
    server.accept_again().await.unwrap();
    spid(&mut connect(&server).await).await;
    spid(&mut client).await;
}

#[tokio::test]
async fn a_server_that_is_dropped_closes_everything() {
    let server = app_locks().await;
    let mut client = connect(&server).await;
    let config = config(&server);
    drop(server);
    let error = failure(&mut client).await;
    assert!(is_lost(&error), "{error:?}");
    // The listener is dropped when the runtime next looks at its task.
    tokio::task::yield_now().await;
    assert!(connect_as(config).await.is_err());
}
