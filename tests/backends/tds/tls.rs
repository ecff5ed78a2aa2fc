//! Sessions over TLS, which is what tiberius asks for by itself.

use std::time::Duration;

use dlock::mssql::MsSql;
use dlock::mssql::tiberius::{AuthMethod, Config, EncryptionLevel};
use dlock::{DLockExt, LockPool, Phase};
use dlock_tds::{AppLocks, Certificate, Close, Encryption, Options, Server};
use tokio::time::Instant;

use super::{Of, Scene, row, why};
use crate::suite::{Outcome, in_one_of, soon};

async fn scene(encryption: Encryption) -> Outcome<Scene> {
    let options = Options {
        encryption,
        ..Options::default()
    };
    Ok(Scene::on(
        Server::start_with(options, AppLocks::new()).await?,
    ))
}

/// As people write it.
fn plain(scene: &Scene) -> Config {
    let mut config = Config::new();
    config.host("localhost");
    config.port(scene.server.address().port());
    config.authentication(AuthMethod::sql_server("billing", "secret"));
    config
}

fn trusting(scene: &Scene) -> Config {
    let mut config = plain(scene);
    config.trust_cert_ca_bundle(scene.server.certificate().pem());
    config
}

fn encrypted(scene: &Scene) -> Vec<bool> {
    let sessions = scene.server.sessions().list();
    sessions.iter().map(|session| session.encrypted).collect()
}

#[tokio::test]
async fn a_server_whose_certificate_is_trusted_is_locked_on_over_tls() -> Outcome {
    for encryption in [Encryption::Offered, Encryption::Required] {
        let scene = scene(encryption).await?;
        let pool = LockPool::open(MsSql::new(trusting(&scene)));
        let guard = pool.dlock("k").await?;
        assert_eq!(encrypted(&scene), [true]);
        assert!(scene.holder("k").is_some());
        let others = LockPool::open(MsSql::new(trusting(&scene)));
        let waiter = tokio::spawn(async move { others.dlock("k").await });
        scene.until_waiting("k", 1).await?;
        guard.release().await?;
        soon("the lock", waiter).await???.release().await?;
        assert!(encrypted(&scene).iter().all(|encrypted| *encrypted));
        scene.is_left_clean().await?;
    }
    Ok(())
}

/// Many locks, in statements and answers of many packets.
#[tokio::test]
async fn batches_of_many_packets_pass() -> Outcome {
    let scene = scene(Encryption::Required).await?;
    let pool = LockPool::open(MsSql::new(trusting(&scene)));
    let name = "n".repeat(200);
    let names = (0..300).map(|number| format!("{name}{number}"));
    let guards = futures_util::future::join_all(names.map(|name| {
        let pool = pool.clone();
        async move { pool.dlock(name).await }
    }));
    let guards = soon("the locks", guards).await?;
    assert_eq!(scene.locks().entries().len(), 300);
    for guard in guards {
        drop(guard?);
    }
    scene.is_left_clean().await
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() -> Outcome {
    let scene = scene(Encryption::Offered).await?;
    let mut of_another = plain(&scene);
    of_another.trust_cert_ca_bundle(Certificate::self_signed().pem());
    for config in [plain(&scene), of_another] {
        let refused = soon("the refusal", LockPool::open(MsSql::new(config)).dlock("k")).await?;
        let said = why(Phase::Connect, refused);
        assert!(said.contains("certificate"), "{said}");
    }
    assert!(encrypted(&scene).is_empty());
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() -> Outcome {
    let scene = scene(Encryption::Offered).await?;
    let mut config = trusting(&scene);
    config.hostname_in_certificate("db.example.com");
    let refused = soon("the refusal", LockPool::open(MsSql::new(config)).dlock("k")).await?;
    let said = why(Phase::Connect, refused);
    assert!(said.contains("certificate"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_the_application_says_otherwise() -> Outcome {
    let scene = scene(Encryption::NotSupported).await?;
    let refused = soon(
        "the refusal",
        LockPool::open(MsSql::new(trusting(&scene))).dlock("k"),
    )
    .await?;
    let said = why(Phase::Connect, refused);
    assert!(said.to_lowercase().contains("encrypt"), "{said}");
    assert!(encrypted(&scene).is_empty());
    let mut config = trusting(&scene);
    config.encryption(EncryptionLevel::NotSupported);
    let guard = LockPool::open(MsSql::new(config)).dlock("k").await?;
    assert_eq!(encrypted(&scene), [false]);
    Ok(guard.release().await?)
}

#[tokio::test]
async fn a_login_alone_can_be_encrypted() -> Outcome {
    let scene = scene(Encryption::Offered).await?;
    let mut config = trusting(&scene);
    config.encryption(EncryptionLevel::Off);
    let guard = LockPool::open(MsSql::new(config)).dlock("k").await?;
    assert_eq!(encrypted(&scene), [false]);
    Ok(guard.release().await?)
}

/// The watch looks at the socket under the encryption.
#[tokio::test]
async fn a_loss_is_noticed_within_a_second() -> Outcome {
    for close in [None, Some(Close::Fin), Some(Close::Rst)] {
        in_one_of(3, Duration::from_secs(1), async || {
            let scene = scene(Encryption::Required).await?;
            let pool = LockPool::open(MsSql::new(trusting(&scene)));
            let guard = pool.dlock("k").await?;
            let session = scene.holder("k").expect("it is held").session;
            let sessions = scene.server.sessions();
            assert!(match close {
                None => sessions.kill(session),
                Some(close) => sessions.cut(session, close),
            });
            let start = Instant::now();
            soon("the loss", guard.lost()).await?;
            let took = start.elapsed();
            soon("the lock", pool.dlock("k")).await??.release().await?;
            Ok(took)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_healthy_lock_is_not_lost_and_a_doubtful_one_is() -> Outcome {
    let scene = scene(Encryption::Required).await?;
    let keepalive = Duration::from_millis(300);
    let pool = LockPool::builder_for(MsSql::new(trusting(&scene)));
    let pool = pool.keepalive(keepalive).build();
    let guard = pool.dlock("k").await?;
    scene.until_asked(Of::Life, 6).await?;
    assert!(guard.is_held());
    scene.say(Of::Try, row(-999));
    why(Phase::Acquire, pool.dlock("another").try_acquire().await);
    soon("the loss", guard.lost()).await?;
    scene.is_left_clean().await
}
