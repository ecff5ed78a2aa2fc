//! Requests that are not answered: withdrawn by their client, or their session ended.

use std::time::Duration;

use dlock_tds::{Answer, Reply, Request, Server, Session, SessionId};
use tiberius::error::Error;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use crate::client::{Client, app_locks, ask, code, connect, is_lost, soon, spid};

/// Says when it is asked to wait, and when it does so no more.
struct Patient {
    said: mpsc::UnboundedSender<&'static str>,
    signal: Notify,
}

struct SaysDropped(mpsc::UnboundedSender<&'static str>);

impl Drop for SaysDropped {
    fn drop(&mut self) {
        // Nobody listens any more at the end of a test.
        let _ = self.0.send("dropped");
    }
}

impl Answer for Patient {
    async fn answer(&self, _: &Session, request: Request) -> Reply {
        if !request.sql.starts_with("wait") {
            return Reply::row([1]);
        }
        let _dropped = SaysDropped(self.said.clone());
        self.said.send("asked").unwrap();
        if request.sql == "wait for the signal" {
            self.signal.notified().await;
            return Reply::row([2]);
        }
        std::future::pending().await
    }

    fn ended(&self, _: SessionId) {
        let _ = self.said.send("ended");
    }
}

async fn waiting(
    sql: &str,
) -> (
    Server<Patient>,
    Client,
    mpsc::UnboundedReceiver<&'static str>,
) {
    let (said, mut heard) = mpsc::unbounded_channel();
    let server = Server::start(Patient {
        said,
        signal: Notify::new(),
    })
    .await
    .unwrap();
    let mut client = connect(&server).await;
    {
        let query = std::pin::pin!(async { client.simple_query(sql).await.map(drop) });
        tokio::select! {
            _ = query => panic!("there is no answer"),
            word = soon(heard.recv()) => assert_eq!(word, Some("asked")),
        }
    }
    (server, client, heard)
}

#[tokio::test]
async fn attention_withdraws_the_request_and_the_connection_stays_good() {
    let (_server, mut client, mut heard) = waiting("wait").await;
    soon(client.cancel_query()).await.unwrap();
    assert_eq!(soon(heard.recv()).await, Some("dropped"));
    let row = soon(client.simple_query("again"))
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(1));
    assert!(heard.is_empty());
}

/// A limit of tiberius 0.13 that who uses it must know: it takes the end of the answer for the end of all.
///
/// The server runs on the thread of this test, so it has sent its answer when it is heard of.
#[tokio::test]
async fn tiberius_cannot_withdraw_what_has_been_answered() {
    let (server, mut client, mut heard) = waiting("wait for the signal").await;
    server.handler().signal.notify_one();
    assert_eq!(soon(heard.recv()).await, Some("dropped"));
    let error = soon(client.cancel_query()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn a_waiting_request_is_dropped_when_its_client_goes() {
    let (server, client, mut heard) = waiting("wait").await;
    let id = server.sessions().list()[0].id;
    drop(client);
    assert_eq!(soon(heard.recv()).await, Some("dropped"));
    assert_eq!(soon(heard.recv()).await, Some("ended"));
    soon(server.sessions().ended(id)).await;
}

#[tokio::test]
async fn a_waiting_request_is_dropped_when_its_session_is_killed() {
    let (server, mut client, mut heard) = waiting("wait").await;
    assert!(server.sessions().kill(server.sessions().list()[0].id));
    assert_eq!(soon(heard.recv()).await, Some("dropped"));
    assert_eq!(soon(heard.recv()).await, Some("ended"));
    let error = ask(&mut client, "q").await.unwrap_err();
    assert!(error.code() == Some(596) || is_lost(&error), "{error:?}");
}

#[tokio::test]
async fn a_reply_can_be_no_reply() {
    let server = app_locks().await;
    server.locks().answer_first(|_| Some(Reply::Never));
    let mut client = connect(&server).await;
    let id = server.sessions().list()[0].id;
    let late = timeout(Duration::from_millis(300), async {
        client.simple_query("q").await.map(drop)
    })
    .await;
    assert!(late.is_err());
    server.locks().answer_plainly();
    soon(client.cancel_query()).await.unwrap();
    assert_eq!(spid(&mut client).await, id);
    let error = ask(&mut client, "q").await.unwrap_err();
    assert_eq!(code(&error), 102);
}
