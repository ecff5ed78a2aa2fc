//! How a lock is held, and beside what.

use std::fmt;

/// How a lock is held.
///
/// Every database has [`Exclusive`](Self::Exclusive), most have [`Shared`](Self::Shared); the others are each one database's own. What a database does not have is
/// [`Error::Unsupported`](crate::Error::Unsupported) there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// One holder, nobody beside it (on Oracle: nobody but [`Null`](Self::Null)). On Oracle `X`.
    #[default]
    Exclusive,
    /// Any number of holders, none of them exclusive. On Oracle `S`.
    Shared,
    /// SQL Server: one holder, and readers beside it; it can be [upgraded](crate::DLockGuard::upgrade) to exclusive.
    Update,
    /// Oracle's `NL`: beside everything, so it excludes nobody.
    Null,
    /// Oracle's `SS` (row share): beside everything but exclusive.
    SubShared,
    /// Oracle's `SX` (row exclusive): beside `NL`, `SS` and its own kind.
    SubExclusive,
    /// Oracle's `SSX` (share row exclusive): beside `NL` and `SS`.
    SharedSubExclusive,
}

/// How [`DBMS_LOCK`](https://docs.oracle.com/en/database/oracle/oracle-database/19/arpls/DBMS_LOCK.html) of Oracle calls the modes, for [`DLock::mode`](crate::DLock::mode).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OracleMode {
    /// Null: [`Mode::Null`].
    NL,
    /// Sub shared, or row share: [`Mode::SubShared`].
    SS,
    /// Sub exclusive, or row exclusive: [`Mode::SubExclusive`].
    SX,
    /// Shared: [`Mode::Shared`].
    S,
    /// Shared sub exclusive, or share row exclusive: [`Mode::SharedSubExclusive`].
    SSX,
    /// Exclusive: [`Mode::Exclusive`].
    X,
}

impl OracleMode {
    #[allow(dead_code, reason = "a build can leave out Oracle")]
    pub(crate) const ALL: [Self; 6] = [Self::NL, Self::SS, Self::SX, Self::S, Self::SSX, Self::X];
}

impl From<OracleMode> for Mode {
    fn from(mode: OracleMode) -> Self {
        match mode {
            OracleMode::NL => Self::Null,
            OracleMode::SS => Self::SubShared,
            OracleMode::SX => Self::SubExclusive,
            OracleMode::S => Self::Shared,
            OracleMode::SSX => Self::SharedSubExclusive,
            OracleMode::X => Self::Exclusive,
        }
    }
}

impl Mode {
    const ALL: [Self; 7] = [
        Self::Exclusive,
        Self::Shared,
        Self::Update,
        Self::Null,
        Self::SubShared,
        Self::SubExclusive,
        Self::SharedSubExclusive,
    ];

    /// Whether two holders can have a lock like this at once.
    /// <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql>, and the table of Oracle's `DBMS_LOCK`.
    pub(crate) fn coexists_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => true,
            (Self::Exclusive, _) | (_, Self::Exclusive) => false,
            (Self::Update, other) | (other, Self::Update) => other == Self::Shared,
            (Self::SubShared, _) | (_, Self::SubShared) => true,
            (a, b) => a == b && a != Self::SharedSubExclusive,
        }
    }

    /// Whether any number of holders can have it like this.
    pub(crate) fn is_shareable(self) -> bool {
        self.coexists_with(self)
    }

    /// Whether everybody who is in the way of `other` is in the way of this one, too: who cannot have `other` cannot have this.
    pub(crate) fn is_kept_out_with(self, other: Self) -> bool {
        let mut held = Self::ALL.into_iter();
        self == other || held.all(|held| held.coexists_with(other) || !held.coexists_with(self))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Update => "update",
            Self::Null => "null",
            Self::SubShared => "sub-shared",
            Self::SubExclusive => "sub-exclusive",
            Self::SharedSubExclusive => "shared-sub-exclusive",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OracleMode::{NL, S, SS, SSX, SX, X};

    /// As Oracle prints it: a row for what is held, a column for what is asked for.
    #[test]
    fn oracles_modes_coexist_as_its_table_says() {
        let order = [NL, SS, SX, S, SSX, X];
        let table = [
            "yyyyyy", // NL
            "yyyyyn", // SS
            "yyynnn", // SX
            "yynynn", // S
            "yynnnn", // SSX
            "ynnnnn", // X
        ];
        for (held, row) in order.into_iter().zip(table) {
            for (asked, expected) in order.into_iter().zip(row.chars()) {
                let coexist = Mode::from(held).coexists_with(asked.into());
                assert_eq!(coexist, expected == 'y', "{asked:?} beside {held:?}");
            }
        }
    }

    #[test]
    fn update_coexists_with_shared_only() {
        let beside = |mode: Mode| mode.coexists_with(Mode::Update);
        assert!(beside(Mode::Shared) && !beside(Mode::Update) && !beside(Mode::Exclusive));
    }

    #[test]
    fn coexistence_is_mutual() {
        for a in Mode::ALL {
            for b in Mode::ALL {
                assert_eq!(a.coexists_with(b), b.coexists_with(a), "{a} and {b}");
            }
        }
    }

    #[test]
    fn who_keeps_readers_out_keeps_everybody_out_who_is_stronger() {
        for (mode, other, is_kept_out) in [
            (Mode::Exclusive, Mode::Shared, true),
            (Mode::Update, Mode::Shared, true),
            (Mode::Exclusive, Mode::Update, true),
            (Mode::Shared, Mode::Exclusive, false),
            (Mode::Shared, Mode::Update, false),
            (Mode::Update, Mode::Exclusive, false),
            (Mode::SubExclusive, Mode::Shared, false),
            (Mode::SharedSubExclusive, Mode::SubExclusive, true),
            (Mode::Null, Mode::Exclusive, false),
        ] {
            assert_eq!(
                mode.is_kept_out_with(other),
                is_kept_out,
                "{mode} with {other}"
            );
        }
    }
}
