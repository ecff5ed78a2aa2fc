//! The statements of Oracle. sea-query has no words for PL/SQL, so they are text.
//! <https://docs.oracle.com/en/database/oracle/oracle-database/19/arpls/DBMS_LOCK.html>

use std::fmt::Write;
use std::time::Duration;

use crate::mode::{Mode, OracleMode};

/// In seconds: more than that the server cannot be told.
const MAXWAIT: u64 = 32_767;

fn oracle_mode(mode: Mode) -> Option<OracleMode> {
    OracleMode::ALL
        .into_iter()
        .find(|oracle| Mode::from(*oracle) == mode)
}

/// As the server numbers its modes.
fn number(mode: OracleMode) -> i64 {
    match mode {
        OracleMode::NL => 1,
        OracleMode::SS => 2,
        OracleMode::SX => 3,
        OracleMode::S => 4,
        OracleMode::SSX => 5,
        OracleMode::X => 6,
    }
}

/// The mode of this number; `None` where nothing is held, or wanted.
pub(crate) fn mode(mode: i64) -> Option<Mode> {
    let mut all = OracleMode::ALL.into_iter();
    all.find(|oracle| number(*oracle) == mode).map(Mode::from)
}

/// What a function says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Done,
    TimedOut,
    Deadlock,
    BadParameter,
    /// Asked for: this session owns it already. Given back: it does not own it.
    WrongOwner,
    IllegalHandle,
    Other(i64),
    Missing,
}

impl Code {
    pub(crate) fn of(code: Option<i64>) -> Self {
        match code {
            Some(0) => Self::Done,
            Some(1) => Self::TimedOut,
            Some(2) => Self::Deadlock,
            Some(3) => Self::BadParameter,
            Some(4) => Self::WrongOwner,
            Some(5) => Self::IllegalHandle,
            Some(other) => Self::Other(other),
            None => Self::Missing,
        }
    }
}

/// A place in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    In(i64),
    /// A number comes out.
    Out,
}

/// An anonymous block; a code comes out of it for each request, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) text: String,
    /// `:1` and so on.
    pub(crate) binds: Vec<Bind>,
}

/// A lock that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acquire {
    pub(crate) id: i64,
    pub(crate) mode: Mode,
    /// For how long the server waits, in whole seconds; zero for a try.
    pub(crate) patience: Duration,
}

/// All releases, then all that is asked for.
pub(crate) fn exchange(
    releases: impl Iterator<Item = i64>,
    acquires: impl Iterator<Item = Acquire>,
) -> Block {
    let mut block = Block {
        text: "BEGIN ".to_owned(),
        binds: Vec::new(),
    };
    for id in releases {
        block.call("RELEASE", [id], "");
    }
    for Acquire { id, mode, patience } in acquires {
        let mode = oracle_mode(mode).expect("BUG: the mode was checked");
        let seconds = patience.as_secs().min(MAXWAIT);
        // What is not released on commit stays through whatever the driver commits.
        block.call("REQUEST", [id, number(mode), seconds as i64], ", FALSE");
    }
    block.text.push_str("END;");
    block
}

impl Block {
    fn call<const N: usize>(&mut self, function: &str, arguments: [i64; N], rest: &str) {
        let first = self.binds.len() + 1;
        self.binds.push(Bind::Out);
        self.binds.extend(arguments.map(Bind::In));
        let places: Vec<String> = (1..=N).map(|n| format!(":{}", first + n)).collect();
        let places = places.join(", ");
        write!(
            self.text,
            ":{first} := DBMS_LOCK.{function}({places}{rest}); "
        )
        .expect("BUG: a string takes everything");
    }
}

/// The identifier that no other session has, the schema that its tables are in, the role of the
/// database, and the session's number.
pub(crate) const SESSION: &str = "SELECT DBMS_SESSION.UNIQUE_SESSION_ID, SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA'), \
     SYS_CONTEXT('USERENV', 'DATABASE_ROLE'), SYS_CONTEXT('USERENV', 'SID') FROM DUAL";

pub(crate) const PRIMARY: &str = "PRIMARY";

/// All user locks, on all instances: number, how it is held, how it is wanted, session, its
/// program. The account must be allowed to read these views.
/// <https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/V-LOCK.html>
pub(crate) const LOCKS: &str = "SELECT TO_CHAR(l.id1), TO_CHAR(l.lmode), TO_CHAR(l.request), TO_CHAR(l.sid), s.program \
     FROM gv$lock l LEFT JOIN gv$session s ON s.inst_id = l.inst_id AND s.sid = l.sid WHERE l.type = 'UL'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_block_with_its_binds_in_order() {
        let acquire = Acquire {
            id: 8,
            mode: Mode::Shared,
            patience: Duration::from_millis(2_900),
        };
        let block = exchange([7].into_iter(), [acquire].into_iter());
        assert_eq!(
            block.text,
            "BEGIN :1 := DBMS_LOCK.RELEASE(:2); :3 := DBMS_LOCK.REQUEST(:4, :5, :6, FALSE); END;"
        );
        let expected = [
            Bind::Out,
            Bind::In(7),
            Bind::Out,
            Bind::In(8),
            Bind::In(4),
            Bind::In(2),
        ];
        assert_eq!(block.binds, expected);
    }

    #[test]
    fn modes_have_oracles_numbers() {
        use OracleMode::{NL, S, SS, SSX, SX, X};

        for (oracle, number) in [(NL, 1), (SS, 2), (SX, 3), (S, 4), (SSX, 5), (X, 6)] {
            assert_eq!(mode(number), Some(oracle.into()), "{oracle:?}");
        }
        assert_eq!((mode(0), mode(7)), (None, None));
    }
}
