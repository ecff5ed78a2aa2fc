//! Requests and replies, without any locks.

use dlock_tds::{
    Answer, Kind, Part, Reply, Request, ResultSet, Server, ServerError, Session, SessionId, Value,
};
use futures_util::TryStreamExt;
use tiberius::{QueryItem, ToSql, error::Error};

use crate::client::{self, Client, connect, soon};

/// Replies the statement and the parameters, a row for each.
struct Echo;

impl Answer for Echo {
    async fn answer(&self, _: &Session, request: Request) -> Reply {
        let sets = std::iter::once(Value::Text(request.sql))
            .chain(request.parameters)
            .map(|value| Part::Rows(ResultSet::row(vec![value])));
        Reply::Parts(sets.collect())
    }

    fn ended(&self, _: SessionId) {}
}

/// Replies always the same.
struct Fixed(Vec<Part>);

impl Answer for Fixed {
    async fn answer(&self, _: &Session, _: Request) -> Reply {
        Reply::Parts(self.0.clone())
    }

    fn ended(&self, _: SessionId) {}
}

async fn client_of(parts: Vec<Part>) -> (Server<Fixed>, Client) {
    let server = Server::start(Fixed(parts)).await.unwrap();
    let client = connect(&server).await;
    (server, client)
}

fn oops() -> ServerError {
    ServerError {
        number: 50_123,
        state: 7,
        severity: 16,
        message: "oops: äö€😀".to_owned(),
    }
}

fn assert_is_oops(error: &Error) {
    let Error::Server(token) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (token.code(), token.state(), token.class(), token.message()),
        (50_123, 7, 16, "oops: äö€😀")
    );
}

#[tokio::test]
async fn rows_of_every_type_arrive() {
    let columns = [
        ("small", Kind::SmallInt),
        ("int", Kind::Int),
        ("big", Kind::BigInt),
        ("text", Kind::Text),
    ];
    let set = ResultSet::new(columns)
        .with([
            Value::SmallInt(-3),
            Value::Int(i32::MIN),
            Value::BigInt(i64::MAX),
            Value::from("ä€😀"),
        ])
        .with([Value::Null, Value::Null, Value::Null, Value::Null]);
    let (_server, mut client) = client_of(vec![Part::Rows(set)]).await;
    for is_call in [false, true] {
        let stream = if is_call {
            client.query("q", &[]).await
        } else {
            client.simple_query("q").await
        };
        let rows = stream.unwrap().into_first_result().await.unwrap();
        assert_eq!(
            rows[0]
                .columns()
                .iter()
                .map(|column| column.name())
                .collect::<Vec<_>>(),
            ["small", "int", "big", "text"]
        );
        assert_eq!(rows[0].get::<i16, _>("small"), Some(-3));
        assert_eq!(rows[0].get::<i32, _>("int"), Some(i32::MIN));
        assert_eq!(rows[0].get::<i64, _>("big"), Some(i64::MAX));
        assert_eq!(rows[0].get::<&str, _>("text"), Some("ä€😀"));
        assert_eq!(rows[1].get::<i16, _>(0), None);
        assert_eq!(rows[1].get::<i32, _>(1), None);
        assert_eq!(rows[1].get::<i64, _>(2), None);
        assert_eq!(rows[1].get::<&str, _>(3), None);
        assert_eq!(rows.len(), 2);
    }
}

#[tokio::test]
async fn several_result_sets_arrive_one_after_the_other() {
    let empty = ResultSet::new([("none", Kind::Int)]);
    let (_server, mut client) = client_of(vec![
        Part::Rows(ResultSet::row(vec![1.into()])),
        Part::Rows(empty),
        Part::Rows(ResultSet::row(vec![2.into()])),
    ])
    .await;
    for is_call in [false, true] {
        let stream = if is_call {
            client.query("q", &[]).await
        } else {
            client.simple_query("q").await
        };
        let sets = stream.unwrap().into_results().await.unwrap();
        let numbers: Vec<Vec<i32>> = sets
            .iter()
            .map(|rows| rows.iter().map(|row| row.get(0).unwrap()).collect())
            .collect();
        assert_eq!(numbers, [vec![1], vec![], vec![2]]);
    }
}

#[tokio::test]
async fn parameters_arrive_as_they_were_sent() {
    let server = Server::start(Echo).await.unwrap();
    let mut client = connect(&server).await;
    // Above 4000 bytes tiberius sends nvarchar(max).
    let long = "ä".repeat(5000);
    let sets = client
        .query(
            "the statement",
            &[
                &"text",
                &"",
                &long.as_str(),
                &7_i32,
                &i64::MIN,
                &None::<i32>,
                &None::<&str>,
            ],
        )
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    let text = |at: usize| sets[at][0].get::<&str, _>(0);
    assert_eq!(
        [text(0), text(1), text(2), text(3)],
        [Some("the statement"), Some("text"), Some(""), Some(&*long)]
    );
    assert_eq!(sets[4][0].get::<i32, _>(0), Some(7));
    assert_eq!(sets[5][0].get::<i64, _>(0), Some(i64::MIN));
    assert_eq!(sets[6][0].get::<i32, _>(0), None);
    assert_eq!(sets[7][0].get::<i32, _>(0), None);
}

#[tokio::test]
async fn messages_of_many_packets_go_both_ways() {
    let server = Server::start(Echo).await.unwrap();
    let mut client = connect(&server).await;
    let texts: Vec<String> = (0..512)
        .map(|number| format!("{number} {}", "ü".repeat(100)))
        .collect();
    let parameters: Vec<&dyn ToSql> = texts.iter().map(|text| text as &dyn ToSql).collect();
    let sets = client
        .query("many", &parameters)
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    assert_eq!(sets.len(), 513);
    for (text, rows) in texts.iter().zip(&sets[1..]) {
        assert_eq!(rows[0].get::<&str, _>(0), Some(&**text));
    }
    let statement = "SELECT ".repeat(50_000);
    let row = client
        .simple_query(&statement)
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<&str, _>(0), Some(&*statement));
}

#[tokio::test]
async fn packets_of_every_length_are_understood() {
    let server = Server::start(Echo).await.unwrap();
    let mut client = connect(&server).await;
    // Around one packet of 4096 bytes: the ends of the last packets lie on either side of the border.
    for length in 2000..2080 {
        let statement = "x".repeat(length);
        let row = client
            .simple_query(&statement)
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.get::<&str, _>(0), Some(&*statement));
    }
}

#[tokio::test]
async fn a_client_may_ask_for_packets_of_another_size() {
    let server = Server::start(Echo).await.unwrap();
    for size in [512, 32767] {
        let mut config = client::config(&server);
        config.packet_size(size);
        let mut client = client::connect_as(config).await.unwrap();
        let statement = "y".repeat(40_000);
        let row = client
            .simple_query(&statement)
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.get::<&str, _>(0), Some(&*statement));
    }
}

#[tokio::test]
async fn an_error_has_its_number_state_severity_and_message() {
    let (_server, mut client) = client_of(vec![Part::Error(oops())]).await;
    assert_is_oops(&client.simple_query("q").await.unwrap_err());
    assert_is_oops(&client.query("q", &[&1]).await.unwrap_err());
    assert_is_oops(&client.execute("q", &[&1]).await.unwrap_err());
}

#[tokio::test]
async fn rows_before_and_after_an_error_arrive() {
    let row = |number: i32| Part::Rows(ResultSet::row(vec![number.into()]));
    let (_server, mut client) = client_of(vec![row(1), Part::Error(oops()), row(2)]).await;
    for is_call in [false, true] {
        let stream = if is_call {
            client.query("q", &[]).await
        } else {
            client.simple_query("q").await
        };
        let mut stream = stream.unwrap();
        let mut numbers = Vec::new();
        let error = loop {
            match stream.try_next().await {
                Ok(Some(QueryItem::Row(row))) => numbers.push(row.get::<i32, _>(0).unwrap()),
                Ok(Some(QueryItem::Metadata(_))) => {}
                Ok(None) => panic!("no error"),
                Err(error) => break error,
            }
        };
        assert_eq!(numbers, [1, 2]);
        assert_is_oops(&error);
    }
}

#[tokio::test]
async fn a_request_can_succeed_without_rows() {
    let (_server, mut client) = client_of(vec![]).await;
    assert!(
        client
            .simple_query("q")
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        client
            .query("q", &[])
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap()
            .is_empty()
    );
    let (_server, mut client) = client_of(vec![Part::Changed(3), Part::Changed(0)]).await;
    assert_eq!(
        client.execute("q", &[]).await.unwrap().rows_affected()[..2],
        [3, 0]
    );
}

#[tokio::test]
async fn attention_while_nothing_is_asked_is_acknowledged() {
    let server = Server::start(Echo).await.unwrap();
    let mut client = connect(&server).await;
    soon(client.cancel_query()).await.unwrap();
    let row = client
        .simple_query("again")
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<&str, _>(0), Some("again"));
}

#[tokio::test]
async fn what_is_not_understood_ends_the_connection() {
    let server = Server::start(Echo).await.unwrap();
    let mut client = connect(&server).await;
    let error = client.query("q", &[&1.5_f64]).await.map(drop).unwrap_err();
    assert!(client::is_lost(&error), "{error:?}");
}
