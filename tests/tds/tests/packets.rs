//! What is on the wire between tiberius and the server, which tiberius itself does not tell.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use crate::client::{app_locks, ask, config, connect_as};

/// The kind of a message that answers, and the length of a header.
const ANSWER: u8 = 4;
const HEADER: usize = 8;

/// Passes one connection on to the server, and remembers what the server sent.
async fn eavesdropper(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(pass(listener, server, heard.clone()));
    (address, heard)
}

async fn pass(listener: TcpListener, server: SocketAddr, heard: Arc<Mutex<Vec<u8>>>) {
    let (client, _) = listener.accept().await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
    tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    loop {
        let mut bytes = Vec::new();
        if from_server.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
        heard.lock().unwrap().extend_from_slice(&bytes);
        to_client.write_all(&bytes).await.unwrap();
    }
}

/// The messages among the bytes, each as its packets' lengths.
fn messages(bytes: &[u8]) -> Vec<Vec<usize>> {
    let (mut messages, mut lengths, mut rest) = (Vec::new(), Vec::new(), bytes);
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        lengths.push(length);
        assert_eq!(
            (rest[0], rest[6]),
            (ANSWER, lengths.len() as u8),
            "kind and number of a packet"
        );
        if rest[1] == 1 {
            messages.push(std::mem::take(&mut lengths));
        } else {
            assert_eq!(rest[1], 0, "status of a packet");
        }
        rest = &rest[length..];
    }
    assert!(lengths.is_empty(), "the last message has an end");
    messages
}

#[tokio::test]
async fn an_answer_is_cut_into_packets_of_4096_bytes() {
    let server = app_locks().await;
    let (address, heard) = eavesdropper(server.address()).await;
    let mut config = config(&server);
    config.port(address.port());
    let mut client = connect_as(config).await.unwrap();
    let rows = ask(&mut client, &format!("SELECT N'{}'", "w".repeat(10_000)))
        .await
        .unwrap();
    assert_eq!(rows[0][0].get::<&str, _>(0).unwrap().len(), 10_000);
    let messages = messages(&heard.lock().unwrap());
    let [_, _, answer] = &messages[..] else {
        panic!("not PRELOGIN, LOGIN7 and the answer: {messages:?}")
    };
    let (last, full) = answer.split_last().unwrap();
    assert_eq!(full, [4096; 4]);
    assert!((HEADER + 1..=4096).contains(last), "{last}");
    assert!(full.len() * (4096 - HEADER) + last - HEADER > 20_000);
}
