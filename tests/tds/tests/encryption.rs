//! TLS, or none.

use dlock_tds::{AppLocks, Encryption, Options, Server};
use tiberius::{Config, EncryptionLevel};

use crate::client::{config, connect_as, get, is_lost, spid};

const BIG: usize = 30_000;

async fn server(encryption: Encryption) -> Server<AppLocks> {
    let options = Options {
        encryption,
        ..Options::default()
    };
    Server::start_with(options, AppLocks::new()).await.unwrap()
}

fn config_with(server: &Server<AppLocks>, level: EncryptionLevel) -> Config {
    let mut config = config(server);
    config.encryption(level);
    config.trust_cert();
    config
}

#[tokio::test]
async fn client_and_server_agree_on_what_is_encrypted() {
    use EncryptionLevel as Client;
    let agreed = [
        (Encryption::Offered, Client::NotSupported, false),
        (Encryption::Offered, Client::Off, false),
        (Encryption::Offered, Client::On, true),
        (Encryption::Offered, Client::Required, true),
        (Encryption::Required, Client::NotSupported, true),
        (Encryption::Required, Client::Off, true),
        (Encryption::Required, Client::On, true),
        (Encryption::Required, Client::Required, true),
        (Encryption::NotSupported, Client::NotSupported, false),
    ];
    for (encryption, level, is_encrypted) in agreed {
        let server = server(encryption).await;
        let mut client = connect_as(config_with(&server, level)).await.unwrap();
        assert_eq!(
            server.sessions().list()[0].encrypted,
            is_encrypted,
            "{encryption:?} {level:?}"
        );
        spid(&mut client).await;
        assert_eq!(get(&mut client, "tls", "Exclusive", 0).await, 0);
        let big = format!("SELECT N'{}'", "t".repeat(BIG));
        let row = client
            .simple_query(big)
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            row.get::<&str, _>(0).unwrap().len(),
            BIG,
            "{encryption:?} {level:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_wants_tls_does_not_go_without() {
    let server = server(Encryption::NotSupported).await;
    for level in [EncryptionLevel::On, EncryptionLevel::Required] {
        assert!(
            connect_as(config_with(&server, level)).await.is_err(),
            "{level:?}"
        );
    }
    assert!(server.sessions().list().is_empty());
}

#[tokio::test]
async fn a_login_alone_is_encrypted() {
    let server = server(Encryption::Offered).await;
    let mut config = config(&server);
    config.encryption(EncryptionLevel::Off);
    // Without trust in the certificate the handshake fails: so there is one.
    assert!(connect_as(config.clone()).await.is_err());
    config.trust_cert();
    assert!(connect_as(config).await.is_ok());
}

#[tokio::test]
async fn the_certificate_is_for_this_host() {
    let server = server(Encryption::Required).await;
    let mut config = config(&server);
    config.encryption(EncryptionLevel::Required);
    let error = connect_as(config.clone())
        .await
        .map(drop)
        .expect_err("nobody vouches for it");
    assert!(!is_lost(&error), "{error:?}");
    config.trust_cert_ca_bundle(server.certificate().pem().as_bytes().to_vec());
    let mut client = connect_as(config).await.unwrap();
    spid(&mut client).await;
}

#[tokio::test]
async fn what_comes_in_pieces_through_tls_is_put_together() {
    let server = server(Encryption::Required).await;
    let mut client = connect_as(config_with(&server, EncryptionLevel::Required))
        .await
        .unwrap();
    for length in (1..200).map(|step| step * 97) {
        let text = "z".repeat(length);
        let row = client
            .query("SELECT @P1", &[&text])
            .await
            .unwrap()
            .into_row()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.get::<&str, _>(0), Some(&*text));
    }
}
