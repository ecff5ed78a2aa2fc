//! Connections that are cut, with and without an answer.

use dlock_tds::{AppLocks, Close, Part, Reply, ResultSet, Server};
use tiberius::error::Error;

use crate::client::{Client, app_locks, ask, connect, is_lost, soon};

fn rows() -> Vec<Part> {
    vec![Part::Rows(ResultSet::row(vec!["r".repeat(3000).into()]))]
}

async fn replying(reply: Reply) -> (Server<AppLocks>, Client) {
    let server = app_locks().await;
    server.locks().answer_first(move |_| Some(reply.clone()));
    let client = connect(&server).await;
    (server, client)
}

async fn length(client: &mut Client) -> Result<usize, Error> {
    let sets = ask(client, "q").await?;
    Ok(sets[0][0].get::<&str, _>(0).unwrap().len())
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_has_none() {
    for close in [Close::Fin, Close::Rst] {
        let (server, mut client) = replying(Reply::Cut(close)).await;
        let error = length(&mut client).await.unwrap_err();
        assert!(is_lost(&error), "{close:?}: {error:?}");
        assert_eq!(
            error.to_string().contains("reset"),
            close == Close::Rst,
            "{error:?}"
        );
        soon(server.sessions().until(|sessions| sessions.is_empty())).await;
    }
}

#[tokio::test]
async fn a_connection_cut_after_the_answer_gives_it_and_is_lost_then() {
    for close in [Close::Fin, Close::Rst] {
        let (server, mut client) = replying(Reply::ThenCut(rows(), close)).await;
        assert_eq!(length(&mut client).await.unwrap(), 3000, "{close:?}");
        soon(server.sessions().until(|sessions| sessions.is_empty())).await;
        let error = length(&mut client).await.unwrap_err();
        assert!(is_lost(&error), "{close:?}: {error:?}");
    }
}

#[tokio::test]
async fn half_an_answer_is_none() {
    for close in [Close::Fin, Close::Rst] {
        let (_server, mut client) = replying(Reply::HalfThenCut(rows(), close)).await;
        let error = length(&mut client).await.unwrap_err();
        assert!(is_lost(&error), "{close:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_can_be_lost_whose_lock_is_granted() {
    let server = app_locks().await;
    server.locks().answer_last(|_, _| Reply::Never);
    let mut client = connect(&server).await;
    {
        let get = std::pin::pin!(crate::client::get(&mut client, "lost", "Exclusive", 0));
        tokio::select! {
            code = get => panic!("it was answered: {code}"),
            () = soon(server.locks().until(|entries| entries.len() == 1)) => {}
        }
    }
    assert_eq!(server.locks().holders("lost").len(), 1);
}
