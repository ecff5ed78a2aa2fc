//! Databases that SeaORM has no connection to, by URL: `mssql://user:password@host:port/database?application=name`, and the same with `oracle` and a service.

use dlock::mssql::tiberius;
use dlock::mssql::tiberius::EncryptionLevel;
use dlock::oracle::oracledb;
use percent_encoding::percent_decode_str;
use url::Url;

fn parsed(url: &str) -> Url {
    Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The same server, for an application of this name.
pub fn named(url: &str, application: &str) -> String {
    let mut url = parsed(url);
    url.query_pairs_mut()
        .append_pair("application", application);
    url.into()
}

/// SQL Server. Any certificate will do. `encrypt` is `required`, which is what tiberius does by itself, `on` (if the server can, the default here), `off` (the login only) or `no`.
///
/// # Panics
///
/// When it is none.
pub fn mssql(url: &str) -> tiberius::Config {
    let parsed = parsed(url);
    let mut config = tiberius::Config::new();
    config.host(parsed.host_str().unwrap_or("localhost"));
    config.port(parsed.port().unwrap_or(1433));
    config.authentication(tiberius::AuthMethod::sql_server(
        decoded(parsed.username()),
        decoded(parsed.password().unwrap_or_default()),
    ));
    let database = decoded(parsed.path().trim_start_matches('/'));
    if !database.is_empty() {
        config.database(database);
    }
    config.encryption(EncryptionLevel::On);
    config.trust_cert();
    for (name, value) in parsed.query_pairs() {
        match (&*name, &*value) {
            ("application", application) => config.application_name(application),
            ("encrypt", "required") => config.encryption(EncryptionLevel::Required),
            ("encrypt", "on") => config.encryption(EncryptionLevel::On),
            ("encrypt", "off") => config.encryption(EncryptionLevel::Off),
            ("encrypt", "no") => config.encryption(EncryptionLevel::NotSupported),
            (name, value) => panic!("{url}: what is {name}={value}?"),
        }
    }
    config
}

/// Oracle.
///
/// # Panics
///
/// When it is none.
pub fn oracle(url: &str) -> oracledb::Config {
    let parsed = parsed(url);
    let service = format!(
        "{}:{}{}",
        parsed.host_str().unwrap_or("localhost"),
        parsed.port().unwrap_or(1521),
        parsed.path()
    );
    let mut pairs = parsed.query_pairs();
    let application = pairs.find(|(name, _)| name == "application");
    let config = oracledb::Config::default().set_credentials(
        &decoded(parsed.username()),
        &decoded(parsed.password().unwrap_or_default()),
    );
    let config = config
        .set_connect_string(&service)
        .and_then(|config| match application {
            Some((_, application)) => config.set_program(application),
            None => Ok(config),
        });
    config.unwrap_or_else(|error| panic!("{url}: {error}"))
}
