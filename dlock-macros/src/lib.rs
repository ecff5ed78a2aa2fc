//! The attribute `#[with_dlock]` of the package `sea-orm-dlock`, which exports it.
//!
//! ```text
//! lib.rs         the attribute; a mistake still leaves the function as it was, so that it is the only error
//! parse.rs       the arguments, each at most once
//! target.rs      the function: where its body is, what it returns, which names it begins with
//! validate.rs    both together → the plan
//! expand.rs      the plan → the function's new body; tests.rs shows one
//! ```

mod expand;
mod parse;
mod target;
mod validate;

#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

/// Runs an async function under a lock: acquires it before the body, releases it before the function returns.
///
/// ```
/// use dlock::prelude::*;
/// use sea_orm::DatabaseConnection;
/// # #[derive(Debug)]
/// # struct Receipt;
/// # #[derive(Debug)]
/// # struct AppError;
/// # impl From<dlock::Error> for AppError {
/// #     fn from(_: dlock::Error) -> Self {
/// #         Self
/// #     }
/// # }
///
/// #[with_dlock(key = "invoice/{id}", timeout = "5s")]
/// async fn pay(db: &DatabaseConnection, id: i64) -> Result<Receipt, AppError> {
///     // Nobody else is in here for this invoice, in no process on this database.
///     # let _ = db;
///     Ok(Receipt)
/// }
/// ```
///
/// It does what `db.dlock(key).run(..)` does, without a closure: `?` and `return` leave the body, not the lock. When the lock is lost with its session, the body is dropped at its next await and the
/// error is `Error::Lost`. When the future is dropped or the body panics, the lock is released by the drop of its guard. What the body owns, its arguments among it, is dropped before
/// the lock is released. A release that fails after the body has finished is logged, not returned. Nothing is boxed or allocated beyond what the same costs by hand.
///
/// # Arguments
///
/// Each at most once, in any order:
///
/// | argument | meaning |
/// |---|---|
/// | `key = "invoice/{id}"` | a string literal is a format string, in which the function's parameters can be named |
/// | `key = expression` | any other expression is a key as it is, if it is `Into<Key>`: `key = NAME`, `key = (7, id)`, `key = &self.name` |
/// | `db = expression` | what is locked on: `db = self.db`, `db = state.db`, `db = &txn`, a `LockPool`. Without it, the parameter that is called `db`, also one inside a pattern such as `State(db): State<DatabaseConnection>` |
/// | `timeout = "5s"` | how long the lock is waited for: `"500ms"`, `"5s"`, `"1m30s"`, checked when it is compiled, or an expression of type `Duration`. Without it the lock pool's default (of which a transaction does not know), or no end |
/// | `nowait` | one try |
/// | `shared` | many holders at once, as long as nobody holds it exclusively |
/// | `xact` | on a transaction: the lock is held until that ends, which is after the function has returned. It is in no namespace: for one, call `txn.dlock(key).settings_of(&db).xact()` in the body |
/// | `pinned` | the lock is on a session of its own, on which the body works: see below |
/// | `on_error = expression` | a function or closure from `dlock::Error` to what the function returns, for functions that return no `Result` whose error is `From<dlock::Error>` |
/// | `busy = expression` | what is returned when the lock was not got in time (`Error::Timeout`); all other errors stay what they are |
/// | `crate = path` | where dlock is, if it is not `::dlock` |
///
/// ```
/// use dlock::prelude::*;
/// use sea_orm::DatabaseConnection;
///
/// # struct Exports {
/// #     db: DatabaseConnection,
/// # }
/// impl Exports {
///     /// `None` while another export runs, in whatever process.
///     #[with_dlock(key = "export", db = self.db, nowait, busy = Ok(None))]
///     async fn export(&self) -> Result<Option<String>, dlock::Error> {
///         Ok(Some("all of it".into()))
///     }
/// }
/// ```
///
/// # Where it can be put
///
/// On free and associated functions and on methods with any `self`, also in traits and their implementations, native or by `#[async_trait]`; with generics, lifetimes and `impl Trait` in their signatures.
/// Attributes that leave an async function behind, such as `#[tracing::instrument]` and `#[axum::debug_handler]`, go above or below it, those that do not (`#[tokio::main]`) below. A function that is not
/// `async` but ends in `Box::pin(async move { .. })` is treated as if it were. Of two `#[with_dlock]` on one function the lower one is the outer lock, which is acquired first.
///
/// The body is an `async move` block: it owns the arguments that it uses. So `on_error` can only use such that are `Copy`, while `key`, `db`, `timeout` and `busy`, which are needed before the body, can use all.
///
/// # Pinned locks
///
/// With `pinned` the body works on the session that holds the lock, so that what is not committed dies with the lock. In the body the parameter that was locked on is that session: a `DatabaseConnection`
/// if it was one, a `&DatabaseConnection` if it was one or a `LockPool`. Where no parameter was named, as in `db = self.db`, the session is called `db`, a `&DatabaseConnection`.
///
/// ```
/// use dlock::prelude::*;
/// use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
///
/// #[with_dlock(key = "invoice/{id}", pinned)]
/// async fn pay(db: &DatabaseConnection, id: i64) -> Result<(), DbErr> {
///     let pay = format!("UPDATE invoice SET paid = true WHERE id = {id}");
///     db.execute_unprepared(&pay).await?; // on the session of the lock
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn with_dlock(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    let item = TokenStream::from(item);
    let locked = lock(arguments.into(), item.clone());
    locked
        .unwrap_or_else(|mistake| with_mistake(item, mistake))
        .into()
}

fn lock(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut function = target::function(item)?;
    let target = target::find(&mut function)?;
    let arguments = syn::parse2(target.seen_from_here(arguments))?;
    expand::expand(validate::validate(arguments, target)?);
    Ok(function.into_token_stream())
}

/// The item as it was: that it is missing would be one error more wherever it is used.
fn with_mistake(item: TokenStream, mistake: syn::Error) -> TokenStream {
    let mistake = mistake.into_compile_error();
    quote! { #mistake #item }
}
