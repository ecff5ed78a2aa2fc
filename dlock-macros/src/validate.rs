//! Arguments and function → what is locked, how, and around what. What does not fit together is said here.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Path, Result, parse_quote};

use crate::parse::{Arguments, Key, Timeout};
use crate::target::Target;

/// All that the expansion needs.
pub(crate) struct Plan<'a> {
    pub(crate) dlock: Path,
    pub(crate) key: Key,
    pub(crate) db: Expr,
    pub(crate) shared: Option<Ident>,
    pub(crate) wait: Wait,
    pub(crate) hold: Hold,
    pub(crate) on_error: Option<Expr>,
    pub(crate) busy: Option<Expr>,
    pub(crate) target: Target<'a>,
}

/// How long the lock is waited for.
pub(crate) enum Wait {
    /// As long as the lock pool says.
    Default,
    Timeout(Ident, Timeout),
    Not(Ident),
}

/// How the lock is held.
pub(crate) enum Hold {
    /// On one of the lock pool's sessions.
    Session,
    /// By the transaction that it is taken on.
    Xact(Ident),
    /// On a session of its own, the one that the body works on.
    Pinned(Ident, InBody),
}

/// What the session of a pinned lock is called in the body.
pub(crate) enum InBody {
    /// By the name of the connection, in whose place it is.
    Replaces(Ident),
    /// By a name that was free.
    New(Ident),
}

pub(crate) fn validate<'a>(arguments: Arguments, target: Target<'a>) -> Result<Plan<'a>> {
    let key = arguments.key.ok_or_else(|| {
        let message = "the key is missing: `#[with_dlock(key = \"invoice/{id}\")]`";
        Error::new(Span::call_site(), message)
    })?;
    let db = match arguments.db {
        // The call borrows by itself, and clippy knows.
        Some(Expr::Reference(db)) if db.mutability.is_none() => *db.expr,
        Some(db) => db,
        None => parameter_called_db(&target)?,
    };
    let wait = match (arguments.timeout, arguments.nowait) {
        (None, None) => Wait::Default,
        (Some((name, timeout)), None) => Wait::Timeout(name, timeout),
        (None, Some(nowait)) => Wait::Not(nowait),
        (Some(_), Some(nowait)) => {
            let message = "`nowait` is one try, and `timeout` a wait: leave one of them out";
            return Err(Error::new(nowait.span(), message));
        }
    };
    let hold = match (arguments.xact, arguments.pinned) {
        (None, None) => Hold::Session,
        (Some(xact), None) => Hold::Xact(xact),
        (None, Some(pinned)) => {
            let in_body = in_body(&db, &target);
            Hold::Pinned(pinned, in_body)
        }
        (Some(_), Some(pinned)) => {
            let message =
                "an `xact` lock is on its transaction's session already: leave `pinned` out";
            return Err(Error::new(pinned.span(), message));
        }
    };
    Ok(Plan {
        dlock: arguments.dlock.unwrap_or_else(|| parse_quote!(::dlock)),
        key,
        db,
        shared: arguments.shared,
        wait,
        hold,
        on_error: arguments.on_error,
        busy: arguments.busy,
        target,
    })
}

fn parameter_called_db(target: &Target<'_>) -> Result<Expr> {
    let name = target.bindings.iter().find(|name| *name == "db");
    let name = name.ok_or_else(|| {
        let message = "no parameter is called `db`: call one so, or say what to lock on, for example `db = self.db`";
        Error::new(Span::call_site(), message)
    })?;
    Ok(parse_quote!(#name))
}

fn in_body(db: &Expr, target: &Target<'_>) -> InBody {
    if let Some(name) = named(db)
        && target.bindings.contains(name)
        && name != "__self"
    {
        return InBody::Replaces(name.clone());
    }
    InBody::New(Ident::new("db", db.span()))
}

/// The `db` of `db` and `(db)`.
pub(crate) fn named(db: &Expr) -> Option<&Ident> {
    match db {
        Expr::Path(path) => path.path.get_ident(),
        Expr::Paren(inner) => named(&inner.expr),
        _ => None,
    }
}
