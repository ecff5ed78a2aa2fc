//! `tds-server PORT [--tls CERT KEY | --no-tls | --require-tls]`: application locks for other processes, until it is ended.
//!
//! Prints its address. PORT 0 is any. TLS is offered with a certificate of its own unless said otherwise.

use std::{env, error::Error, net::Ipv4Addr, path::Path};

use dlock_tds::{AppLocks, Certificate, Encryption, Options, Server};

const USAGE: &str = "usage: tds-server PORT [--tls CERT KEY | --no-tls | --require-tls]";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start_with(options(&arguments)?, AppLocks::new()).await?;
    println!("{}", server.address());
    std::future::pending().await
}

fn options(arguments: &[&str]) -> Result<Options, Box<dyn Error>> {
    let (port, rest) = arguments.split_first().ok_or(USAGE)?;
    let options = Options {
        address: (Ipv4Addr::LOCALHOST, port.parse()?).into(),
        ..Options::default()
    };
    match rest {
        [] => Ok(options),
        ["--tls", chain, key] => Ok(Options {
            certificate: Certificate::from_pem_files(Path::new(chain), Path::new(key))?,
            ..options
        }),
        ["--no-tls"] => Ok(Options {
            encryption: Encryption::NotSupported,
            ..options
        }),
        ["--require-tls"] => Ok(Options {
            encryption: Encryption::Required,
            ..options
        }),
        _ => Err(USAGE.into()),
    }
}
