//! The modes of locks.

/// How a lock is held; the later the stronger.
///
/// `IntentShared` and `IntentExclusive` are not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Beside others, and beside one `Update`.
    Shared,
    /// Beside `Shared` only.
    Update,
    /// Alone.
    Exclusive,
}

impl Mode {
    /// What `@LockMode` calls it, in upper or lower case.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Shared, Self::Update, Self::Exclusive]
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(name))
    }

    /// What `@LockMode` and `APPLOCK_MODE` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "Shared",
            Self::Update => "Update",
            Self::Exclusive => "Exclusive",
        }
    }

    /// What `sys.dm_tran_locks` calls it.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Shared => "S",
            Self::Update => "U",
            Self::Exclusive => "X",
        }
    }

    /// Whether two sessions can hold a lock in these modes.
    ///
    /// <https://learn.microsoft.com/sql/relational-databases/sql-server-transaction-locking-and-row-versioning-guide#lock-compatibility>
    pub fn is_compatible(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Shared, Self::Shared | Self::Update) | (Self::Update, Self::Shared)
        )
    }
}
