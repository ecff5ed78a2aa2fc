//! The session on a driver in memory: what it says to the server, in which order and with which
//! values, and what it makes of the answers. No Oracle server could be had.

mod fake;

use std::sync::mpsc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::fake::{Fake, FakeDriver, MARGIN, room};
use super::driver::TextRow;
use super::statements::Bind::{self, In, Out};
use super::thread::DriverThread;
use crate::backend::SessionError;
use crate::backend::shared::doubt::refused;
use crate::backend::{Answer, Batch, Request, Session};
use crate::error::Error;
use crate::key::PhysicalKey;
use crate::mode::{Mode, OracleMode};

fn request(id: i64, mode: impl Into<Mode>) -> Request {
    Request {
        key: PhysicalKey::Int(id),
        mode: mode.into(),
    }
}

fn tries(requests: impl IntoIterator<Item = Request>) -> Batch {
    Batch {
        releases: Vec::new(),
        tries: requests.into_iter().collect(),
    }
}

fn row(columns: [Option<&str>; 5]) -> TextRow {
    columns
        .into_iter()
        .map(|column| column.map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn a_batch_is_one_block_on_a_thread_of_its_own() {
    let fake = Fake::answering([Ok(vec![Some(0), Some(0), Some(1)])]);
    let mut session = fake.session().await;
    let batch = Batch {
        releases: vec![request(5, Mode::Exclusive)],
        tries: vec![request(6, OracleMode::SX), request(7, OracleMode::X)],
    };
    let answers = session.exchange(&batch).await.unwrap();
    assert!(matches!(answers.releases[..], [Answer::Yes]));
    assert!(matches!(answers.tries[..], [Answer::Yes, Answer::No]));
    fake.with(|script| {
        let (text, binds, limit) = &script.blocks[0];
        assert_eq!(
            text,
            "BEGIN :1 := DBMS_LOCK.RELEASE(:2); :3 := DBMS_LOCK.REQUEST(:4, :5, :6, FALSE); \
             :7 := DBMS_LOCK.REQUEST(:8, :9, :10, FALSE); END;"
        );
        let expected = [
            Out,
            In(5),
            Out,
            In(6),
            In(3),
            In(0),
            Out,
            In(7),
            In(6),
            In(0),
        ];
        assert_eq!((&binds[..], *limit), (&expected[..], MARGIN));
        assert_ne!(script.threads[0], std::thread::current().id());
    });
}

#[tokio::test]
async fn every_mode_is_asked_for_by_its_number() {
    let numbers = [
        (OracleMode::NL, 1),
        (OracleMode::SS, 2),
        (OracleMode::SX, 3),
        (OracleMode::S, 4),
        (OracleMode::SSX, 5),
        (OracleMode::X, 6),
    ];
    let fake = Fake::answering([Ok(vec![Some(0); 6])]);
    let mut session = fake.session().await;
    let all = numbers.map(|(mode, number)| request(number, mode));
    session.exchange(&tries(all)).await.unwrap();
    fake.with(|script| {
        for (binds, (_, number)) in script.blocks[0].1.chunks(4).zip(numbers) {
            assert_eq!(binds, [Out, In(number), In(number), In(0)]);
        }
    });
}

/// Where the server's word is no plain answer, who asked hears it, and the session ends before it
/// is asked anything more.
#[tokio::test]
async fn each_code_of_a_request_has_its_meaning() {
    let word = |answer: &Answer| match answer {
        Answer::Yes => "yes".to_owned(),
        Answer::No => "no".to_owned(),
        Answer::Deadlock => "deadlock".to_owned(),
        Answer::Failed(error) => error.to_string(),
    };
    for (code, meaning, goes_on) in [
        (Some(0), "yes", true),
        (Some(1), "no", true),
        (Some(2), "deadlock", true),
        (Some(3), "parameter error (3)", false),
        (Some(4), "owns it already (4)", false),
        (Some(5), "illegal lock handle (5)", false),
        (Some(42), "answered 42", false),
        (None, "answered nothing", false),
    ] {
        let fake = Fake::answering([Ok(vec![code]), Ok(vec![code]), Ok(vec![Some(0)])]);
        let asked = request(9, Mode::Exclusive);
        let mut session = fake.session().await;
        let tried = session.exchange(&tries([asked.clone()])).await.unwrap();
        let said = word(&tried.tries[0]);
        assert!(said.contains(meaning), "{code:?}: {said}");
        let again = session
            .exchange(&tries([request(10, Mode::Exclusive)]))
            .await;
        assert_eq!(again.is_ok(), goes_on, "{code:?}");
        let mut other = fake.session().await;
        if goes_on {
            fake.with(|script| script.replies = [Ok(vec![code])].into());
        }
        let waited = other.wait(&asked, Duration::from_secs(1)).await.unwrap();
        assert_eq!(word(&waited), said, "a wait, {code:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_short_is_none() {
    let fake = Fake::answering([Ok(vec![Some(0)])]);
    let mut session = fake.session().await;
    let two = tries([request(1, Mode::Exclusive), request(2, Mode::Exclusive)]);
    let answers = session.exchange(&two).await.unwrap();
    assert!(matches!(
        answers.tries[..],
        [Answer::Yes, Answer::Failed(_)]
    ));
    assert!(session.ping().await.is_err());
}

#[tokio::test]
async fn a_release_is_believed_by_its_code_only() {
    for (code, kept) in [
        (Some(0), true),
        (Some(3), false),
        (Some(4), false),
        (Some(5), false),
        (None, false),
    ] {
        let fake = Fake::answering([Ok(vec![code])]);
        let mut session = fake.session().await;
        let batch = Batch::of_releases(vec![request(1, Mode::Exclusive)]);
        let answers = session.exchange(&batch).await.unwrap();
        assert_eq!(
            matches!(answers.releases[..], [Answer::Yes]),
            kept,
            "{code:?}"
        );
    }
}

/// The server waits for whole seconds; the driver a margin longer.
#[tokio::test(start_paused = true)]
async fn a_wait_is_the_servers_in_seconds_and_else_tries() {
    let fake = Fake::answering([Ok(vec![Some(1)])]);
    let mut session = fake.session().await;
    let asked = request(3, Mode::Exclusive);
    let slice = Duration::from_millis(1_900);
    let waited = session.wait(&asked, slice).await.unwrap();
    assert!(matches!(waited, Answer::No));
    fake.with(|script| {
        let (_, binds, limit) = &script.blocks[0];
        assert_eq!(binds[..], [Out, In(3), In(6), In(1)]);
        assert_eq!(*limit, slice + MARGIN);
        script.blocks.clear();
        script.replies = vec![Ok(vec![Some(1)]); 5].into();
        script.replies.push_back(Ok(vec![Some(0)]));
    });
    let waited = session
        .wait(&asked, Duration::from_millis(500))
        .await
        .unwrap();
    assert!(matches!(waited, Answer::Yes));
    fake.with(|script| {
        assert_eq!(script.blocks.len(), 6);
        let without_waiting = |block: &(String, Vec<Bind>, _)| block.1[3] == In(0);
        assert!(script.blocks.iter().all(without_waiting));
    });
}

#[tokio::test]
async fn an_error_of_a_statement_is_the_askers_and_then_the_sessions() {
    let error = || SessionError::Statement(refused("ORA-06550: line 1".into()));
    let fake = Fake::answering([Err(error()), Ok(vec![Some(0)])]);
    let mut session = fake.session().await;
    let answers = session
        .exchange(&tries([request(1, Mode::Exclusive)]))
        .await
        .unwrap();
    assert!(
        matches!(&answers.tries[..], [Answer::Failed(error)] if error.to_string().contains("ORA-06550"))
    );
    assert!(session.gone().await.to_string().contains("ORA-06550"));
    let fake = Fake::answering([Err(SessionError::ended("broken pipe"))]);
    let mut session = fake.session().await;
    let answers = session
        .exchange(&tries([request(1, Mode::Exclusive)]))
        .await;
    assert!(answers.unwrap_err().to_string().contains("broken pipe"));
}

#[tokio::test]
async fn an_account_that_cannot_call_the_package_reads_the_servers_error() {
    let error = "ORA-06550: line 1, column 7:\nPLS-00201: 'DBMS_LOCK' must be declared";
    let fake = Fake::answering([Ok(vec![Some(4)])]);
    fake.with(|script| script.compile_error = Some(error.to_owned()));
    let mut session = fake.session().await;
    let refused = session.calls_package().await.unwrap_err();
    assert!(
        matches!(&refused, SessionError::Refused(Error::Refused { found, .. }) if found.contains(error)),
        "{refused:?}"
    );
    assert!(session.calls_package().await.is_ok());
}

#[tokio::test]
async fn a_session_is_known_by_what_it_says_of_itself() {
    let fake = Fake::default();
    let mut session = fake.session().await;
    let life = |identity, role| {
        let columns: [Option<&str>; 3] = [Some(identity), Some("BILLING"), Some(role)];
        vec![columns.map(|column| column.map(str::to_owned)).to_vec()]
    };
    fake.with(|script| script.rows = life("0017A0010001", "PRIMARY"));
    let first = session.sign_of_life().await.unwrap();
    assert_eq!(first.schema.as_deref(), Some("BILLING"));
    session.identity = first.identity;
    session.ping().await.unwrap();
    fake.with(|script| script.rows = life("0017A0020001", "PRIMARY"));
    assert!(
        session
            .ping()
            .await
            .unwrap_err()
            .to_string()
            .contains("another server session")
    );
    fake.with(|script| script.rows = life("0017A0010001", "PHYSICAL STANDBY"));
    assert!(
        session
            .ping()
            .await
            .unwrap_err()
            .to_string()
            .contains("standby")
    );
    fake.with(|script| assert!(script.selects.iter().all(|(_, limit)| *limit == MARGIN)));
}

#[tokio::test]
async fn the_list_tells_who_holds_and_who_waits() {
    let fake = Fake::default();
    let mut session = fake.session().await;
    fake.with(|script| {
        script.rows = vec![
            row([Some("7"), Some("6"), Some("0"), Some("31"), Some("billing")]),
            row([Some("7"), Some("0"), Some("4"), Some("32"), None]),
            row([Some("8"), Some("0"), Some("0"), Some("33"), None]),
        ];
    });
    let locks = session.locks(&[]).await.unwrap();
    let seen: Vec<_> = locks
        .iter()
        .map(|lock| {
            (
                lock.key.clone(),
                lock.mode,
                lock.granted,
                lock.holder.session,
            )
        })
        .collect();
    let seven = PhysicalKey::Int(7);
    let expected = [
        (seven.clone(), Mode::Exclusive, true, 31),
        (seven, Mode::Shared, false, 32),
    ];
    assert_eq!(seen, expected);
    assert_eq!(locks[0].holder.application, "billing");
}

/// Who goes away does not stop the driver; what it was doing is done before the next.
#[tokio::test]
async fn a_call_that_nobody_waits_for_is_done_nevertheless() {
    let fake = Fake::answering([Ok(vec![Some(0)]), Ok(vec![Some(0)])]);
    let mut session = fake.session().await;
    let (go_on, gate) = mpsc::channel();
    fake.with(|script| script.gate = Some(gate));
    let batch = tries([request(1, Mode::Exclusive)]);
    let asked = timeout(Duration::from_millis(20), session.exchange(&batch)).await;
    assert!(asked.is_err(), "the driver stands at the gate");
    go_on.send(()).unwrap();
    let batch = tries([request(2, Mode::Exclusive)]);
    session.exchange(&batch).await.unwrap();
    assert_eq!(fake.with(|script| script.blocks.len()), 2);
}

#[tokio::test]
async fn a_session_that_is_closed_or_dropped_logs_off() {
    let fake = Fake::default();
    Box::new(fake.session().await).close().await;
    assert!(fake.with(|script| script.logged_off));
    let fake = Fake::default();
    drop(fake.session().await);
    for _ in 0..1000 {
        if fake.with(|script| script.logged_off) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("it is still logged on");
}

#[tokio::test]
async fn a_driver_that_panics_is_the_end_of_its_session_only() {
    let fake = Fake::default();
    let mut session = fake.session().await;
    let answers = session
        .exchange(&tries([request(1, Mode::Exclusive)]))
        .await;
    assert!(answers.unwrap_err().to_string().contains("panicked"));
}

#[tokio::test]
async fn a_connection_that_fails_says_why() {
    let opened = DriverThread::start(room(), || {
        Err::<FakeDriver, _>(SessionError::ended("ORA-12541"))
    })
    .await;
    assert!(opened.err().unwrap().to_string().contains("ORA-12541"));
}
