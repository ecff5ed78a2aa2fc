//! The server as a process of its own.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{self, Child, Command, Stdio},
};

use dlock_tds::Certificate;
use tiberius::{AuthMethod, Config, EncryptionLevel};

use crate::client::{connect_as, get, spid};

/// Ended when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> (Process, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tds-server"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (Process(child), line.trim().parse().unwrap())
}

fn config(address: SocketAddr, level: EncryptionLevel) -> Config {
    let mut config = Config::new();
    config.host("localhost");
    config.port(address.port());
    config.authentication(AuthMethod::sql_server("me", "secret"));
    config.encryption(level);
    config
}

#[tokio::test]
async fn a_process_serves_with_and_without_tls() {
    let (_process, address) = start(&["0"]);
    for level in [
        EncryptionLevel::NotSupported,
        EncryptionLevel::Off,
        EncryptionLevel::Required,
    ] {
        let mut config = config(address, level);
        config.trust_cert();
        let mut client = connect_as(config).await.unwrap();
        assert_eq!(
            get(&mut client, &format!("{level:?}"), "Exclusive", 0).await,
            0
        );
    }
}

#[tokio::test]
async fn a_process_can_be_told_what_to_do_about_tls() {
    let (_process, address) = start(&["0", "--no-tls"]);
    assert!(
        connect_as(config(address, EncryptionLevel::Required))
            .await
            .is_err()
    );
    let (_process, address) = start(&["0", "--require-tls"]);
    let mut config = config(address, EncryptionLevel::Off);
    config.trust_cert();
    spid(&mut connect_as(config).await.unwrap()).await;
}

#[tokio::test]
async fn a_process_shows_the_certificate_that_it_is_given() {
    let certificate = Certificate::self_signed();
    let directory = env::temp_dir().join(format!("dlock-tds-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (chain, key) = (directory.join("chain.pem"), directory.join("key.pem"));
    fs::write(&chain, certificate.pem()).unwrap();
    fs::write(&key, certificate.key_pem()).unwrap();
    let (_process, address) =
        start(&["0", "--tls", chain.to_str().unwrap(), key.to_str().unwrap()]);
    let mut config = config(address, EncryptionLevel::Required);
    config.trust_cert_ca_bundle(certificate.pem().as_bytes().to_vec());
    spid(&mut connect_as(config).await.unwrap()).await;
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_process_that_does_not_understand_its_arguments_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_tds-server"))
        .args(["0", "--what"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("usage: tds-server PORT")
    );
}
