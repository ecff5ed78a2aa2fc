//! What a batch consists of.

use crate::{SessionId, Value};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Variables, all of them `int`.
    Declare(Vec<String>),
    Execute(Execute),
    /// Comparisons that must all hold, and what is done as long as they do.
    While(Vec<Comparison>, Box<Statement>),
    Select(Vec<Expression>),
    /// One of the settings that make no difference here.
    Set,
    Kill(SessionId),
}

/// `EXEC @status = procedure @Name = value, ..`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Execute {
    pub(super) status: Option<String>,
    pub(super) procedure: Procedure,
    /// The names in lower case
    pub(super) arguments: Vec<(String, Expression)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    GetAppLock,
    ReleaseAppLock,
}

impl Procedure {
    pub(super) const ALL: [Self; 2] = [Self::GetAppLock, Self::ReleaseAppLock];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GetAppLock => "sp_getapplock",
            Self::ReleaseAppLock => "sp_releaseapplock",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(super) left: Expression,
    pub(super) is_equal: bool,
    pub(super) right: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    Literal(Value),
    Variable(String),
    /// `@@SPID`
    Spid,
    Call(Function, Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    DbName,
    AppName,
    DatabasePropertyEx,
    AppLockMode,
    AppLockTest,
    ServerProperty,
}

impl Function {
    const ALL: [Self; 6] = [
        Self::DbName,
        Self::AppName,
        Self::DatabasePropertyEx,
        Self::AppLockMode,
        Self::AppLockTest,
        Self::ServerProperty,
    ];

    /// That has this name and takes so many arguments.
    pub(super) fn find(name: &str, arguments: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|function| {
            let (own, count) = function.signature();
            own.eq_ignore_ascii_case(name) && count == arguments
        })
    }

    fn signature(self) -> (&'static str, usize) {
        match self {
            Self::DbName => ("DB_NAME", 0),
            Self::AppName => ("APP_NAME", 0),
            Self::DatabasePropertyEx => ("DATABASEPROPERTYEX", 2),
            Self::AppLockMode => ("APPLOCK_MODE", 3),
            Self::AppLockTest => ("APPLOCK_TEST", 4),
            Self::ServerProperty => ("SERVERPROPERTY", 1),
        }
    }
}
