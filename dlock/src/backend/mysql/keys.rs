//! MySQL and MariaDB: user-level locks, by name, in the whole server.
//! <https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html>,
//! <https://mariadb.com/docs/server/reference/sql-functions/secondary-functions/miscellaneous-functions/get_lock>

use crate::backend::rules::LockRules;
use crate::backend::shared::names::{hashed, lock_name};
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// Which of the two it is: they speak the same protocol and differ in names and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    MySql,
    MariaDb,
}

/// Its `GET_LOCK` waits for one second at least and does not report the holder.
/// <https://docs.pingcap.com/tidb/stable/locking-functions/>
const TIDB: Error = Error::refused("TiDB", PLAIN_SERVER, OTHER_SERVER);

/// `GET_LOCK` inside an expression is error 1235 there, and outside it needs a reserved connection.
/// <https://vitess.io/docs/reference/compatibility/mysql-compatibility/>
pub(crate) const VITESS: Error =
    Error::refused("Vitess or PlanetScale", PLAIN_SERVER, OTHER_SERVER);

/// `GET_LOCK` excludes no session of the other SQL nodes.
const NDB: Error = Error::refused("MySQL NDB Cluster", PLAIN_SERVER, OTHER_SERVER);

pub(crate) const PLAIN_SERVER: &str = "one MySQL or MariaDB server with locks of its own";

const OTHER_SERVER: &str =
    "use a MySQL, MariaDB or PostgreSQL server that is not part of a cluster for locks";

const OLD: Error = Error::Unsupported {
    backend: "a MySQL before 5.7.5, or a MariaDB before 10.0.2,",
    feature: "more than one lock in a session",
    hint: "a second `GET_LOCK` releases the first there: use a newer server",
};

impl ServerKind {
    /// By the version that it shows, unless its locks are something else.
    pub(crate) fn of_version(version: &str) -> Result<Self, Error> {
        let numbers = version.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).collect();
        let (server, first) = match version.contains("MariaDB") {
            true => (Self::MariaDb, [10, 0, 2]),
            false => (Self::MySql, [5, 7, 5]),
        };
        match version {
            _ if version.contains("TiDB") => Err(TIDB),
            _ if version.contains("Vitess") => Err(VITESS),
            _ if version.contains("-cluster") => Err(NDB),
            _ if *numbers < first[..] => Err(OLD),
            _ => Ok(server),
        }
    }

    /// Whether the server takes this name, and all of it. NUL cuts it on both.
    fn takes(self, name: &str) -> bool {
        let fits = match self {
            // In characters of up to three bytes (4163, 3057).
            Self::MySql => name.chars().count() <= 64 && name.chars().all(|c| c <= '\u{FFFF}'),
            // In bytes (1059).
            Self::MariaDb => name.len() <= 192,
        };
        fits && !name.contains('\0')
    }

    /// Whether two names may be one on the server, so that who gives one of them back gives the
    /// other back. MySQL folds each character to lower case, in a way of its own.
    pub(crate) fn may_fold(self, a: &str, b: &str) -> bool {
        let may_be_same =
            |(a, b): (char, char)| !a.is_ascii() || !b.is_ascii() || a.eq_ignore_ascii_case(&b);
        match self {
            Self::MySql => {
                a.chars().count() == b.chars().count() && a.chars().zip(b.chars()).all(may_be_same)
            }
            Self::MariaDb => a == b,
        }
    }

    /// A name as `performance_schema` shows it: MySQL in the form that it compares; MariaDB cut
    /// after 64 characters, of three bytes at most.
    pub(crate) fn shown(self, name: &str) -> String {
        match self {
            // One character for one, as the server does it; `str::to_lowercase` looks at the
            // neighbours.
            Self::MySql => {
                let fold = |c: char| c.to_lowercase().next();
                name.chars().filter_map(fold).collect()
            }
            Self::MariaDb => {
                let show = |c: char| match c.len_utf8() {
                    4 => std::iter::repeat_n('?', 4),
                    _ => std::iter::repeat_n(c, 1),
                };
                name.chars().flat_map(show).take(64).collect()
            }
        }
    }
}

const MODES: &[Mode] = &[Mode::Exclusive];

static RULES: LockRules = LockRules {
    database: "MySQL/MariaDB",
    modes: MODES,
    physical_key: |key| physical_key(key, "MySQL/MariaDB", None),
    refusal: None,
};

static RULES_OF_MYSQL: LockRules = LockRules {
    database: "MySQL",
    physical_key: |key| physical_key(key, "MySQL", Some(ServerKind::MySql)),
    modes: MODES,
    refusal: None,
};

static RULES_OF_MARIADB: LockRules = LockRules {
    database: "MariaDB",
    physical_key: |key| physical_key(key, "MariaDB", Some(ServerKind::MariaDb)),
    modes: MODES,
    refusal: None,
};

/// The rules of this server; `None` while it is not known.
pub(super) fn rules(server: Option<ServerKind>) -> &'static LockRules {
    match server {
        None => &RULES,
        Some(ServerKind::MySql) => &RULES_OF_MYSQL,
        Some(ServerKind::MariaDb) => &RULES_OF_MARIADB,
    }
}

fn physical_key(
    key: &KeyRepr,
    database: &'static str,
    server: Option<ServerKind>,
) -> Result<Option<PhysicalKey>, Error> {
    let name = lock_name(key, database)?;
    let taken = match server {
        Some(server) => Some(server.takes(&name)),
        None => {
            let [mysql, mariadb] =
                [ServerKind::MySql, ServerKind::MariaDb].map(|server| server.takes(&name));
            (mysql == mariadb).then_some(mysql)
        }
    };
    let name = taken.map(|taken| match taken {
        true => name,
        false => hashed(&name),
    });
    Ok(name.map(PhysicalKey::Name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_on(server: Option<ServerKind>, text: &str) -> Option<String> {
        let text = KeyRepr::Text(text.into());
        let key = rules(server).physical_key(&text).unwrap();
        key.map(|key| key.to_string())
    }

    #[test]
    fn a_name_is_hashed_where_the_server_does_not_take_it() {
        let itself = |server, text: &str| name_on(Some(server), text).as_deref() == Some(text);
        let (ascii, wide, emoji) = ("x".repeat(64), "é".repeat(64), "😀".repeat(48));
        for server in [ServerKind::MySql, ServerKind::MariaDb] {
            assert!(itself(server, &ascii) && itself(server, &wide));
            assert!(!itself(server, "a\0b") && !itself(server, &"x".repeat(193)));
        }
        assert!(!itself(ServerKind::MySql, &"x".repeat(65)) && !itself(ServerKind::MySql, "😀"));
        assert!(
            itself(ServerKind::MariaDb, &"x".repeat(192)) && itself(ServerKind::MariaDb, &emoji)
        );
        assert!(!itself(ServerKind::MariaDb, &"😀".repeat(49)));
    }

    #[test]
    fn names_that_mysql_may_fold_are_told_apart_with_care() {
        for (a, b) in [("Key", "kEY"), ("É", "é"), ("\u{212A}", "k"), ("k", "k")] {
            assert!(ServerKind::MySql.may_fold(a, b), "{a} {b}");
        }
        for (a, b) in [("Key", "Kez"), ("key", "key "), ("e", "f")] {
            assert!(!ServerKind::MySql.may_fold(a, b), "{a} {b}");
        }
        assert!(!ServerKind::MariaDb.may_fold("Key", "key"));
    }

    #[test]
    fn a_server_is_known_by_its_version() {
        for (version, server) in [
            ("10.11.14-MariaDB-0+deb12u2", ServerKind::MariaDb),
            ("11.8.9-MariaDB-4 from Debian", ServerKind::MariaDb),
            ("10.0.2-MariaDB", ServerKind::MariaDb),
            ("9.7.4-2", ServerKind::MySql),
            ("8.0.36", ServerKind::MySql),
            ("5.7.44-log", ServerKind::MySql),
        ] {
            assert_eq!(
                ServerKind::of_version(version).unwrap(),
                server,
                "{version}"
            );
        }
        for (version, found) in [
            ("8.0.11-TiDB-v8.5.0", "TiDB"),
            ("8.4.0-cluster", "NDB"),
            ("8.0.30-Vitess", "PlanetScale"),
            ("5.6.51", "before 5.7.5"),
            ("5.5.68-MariaDB", "before 10.0.2"),
        ] {
            let error = ServerKind::of_version(version).unwrap_err().to_string();
            assert!(error.contains(found), "{version}: {error}");
        }
    }

    #[test]
    fn a_name_is_shown_as_the_server_lists_it() {
        assert_eq!(ServerKind::MySql.shown("KeyΑΣİ"), "keyασi");
        assert_eq!(ServerKind::MariaDb.shown("Key😀"), "Key????");
        assert_eq!(ServerKind::MariaDb.shown(&"x".repeat(70)), "x".repeat(64));
    }

    #[test]
    fn an_unknown_server_matters_only_for_names_that_one_of_the_two_takes() {
        let same = ["x".repeat(64), "x".repeat(193), "a\0b".to_owned()];
        for text in &same {
            assert!(name_on(None, text).is_some());
            assert_eq!(name_on(None, text), name_on(Some(ServerKind::MySql), text));
            assert_eq!(
                name_on(None, text),
                name_on(Some(ServerKind::MariaDb), text)
            );
        }
        for text in ["x".repeat(65), "😀".to_owned()] {
            assert_eq!(name_on(None, &text), None);
        }
    }

    #[test]
    fn a_hashed_name_is_what_b2sum_says() {
        assert_eq!(
            name_on(Some(ServerKind::MySql), &"x".repeat(65)).as_deref(),
            Some("d15d47fd5554451d9b34dc57cadcef10242c8ba3141da1df848358223b64e60a")
        );
    }
}
