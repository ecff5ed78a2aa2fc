//! What takes two locks.

use std::time::Duration;

use dlock::prelude::*;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, DatabaseConnection, DatabaseTransaction, DbBackend,
    EntityTrait, IntoActiveModel, TransactionTrait,
};

use crate::entity::{Account, account};
use crate::error::Error;

/// A transaction does not know the timeout of its connection's lock pool.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Moves money. Both accounts are locked, the one with the lower number first: two transfers in opposite directions would wait for each other otherwise.
///
/// # Errors
///
/// [`Error::NotATransfer`], [`Error::Missing`], [`Error::NotEnough`], and those of the locks and the database.
pub async fn transfer(
    db: &DatabaseConnection,
    from: i64,
    to: i64,
    cents: i64,
) -> Result<(), Error> {
    if from == to || cents <= 0 {
        return Err(Error::NotATransfer);
    }
    let (first, second) = (from.min(to), from.max(to));
    if db.get_database_backend() == DbBackend::Postgres {
        let txn = db.begin().await?;
        for account in [first, second] {
            let lock = Account::dlock(&txn, account).xact();
            lock.timeout(LOCK_TIMEOUT).await?;
        }
        move_money(&txn, from, to, cents).await?;
        txn.commit().await?;
        return Ok(());
    }
    let under_first = Account::dlock(db, first).run(async |_lock| {
        let under_both = Account::dlock(db, second)
            .transaction(async |txn| move_money(txn, from, to, cents).await);
        under_both.await
    });
    under_first.await
}

async fn move_money(
    txn: &DatabaseTransaction,
    from: i64,
    to: i64,
    cents: i64,
) -> Result<(), Error> {
    let payer = account(txn, from).await?;
    let payee = account(txn, to).await?;
    if payer.cents < cents {
        return Err(Error::NotEnough(from));
    }
    set_balance(txn, &payer, payer.cents - cents).await?;
    set_balance(txn, &payee, payee.cents + cents).await
}

async fn account(txn: &DatabaseTransaction, id: i64) -> Result<account::Model, Error> {
    let account = Account::find_by_id(id).one(txn).await?;
    account.ok_or(Error::Missing("account", id))
}

async fn set_balance(
    txn: &DatabaseTransaction,
    account: &account::Model,
    cents: i64,
) -> Result<(), Error> {
    let mut account = account.clone().into_active_model();
    account.cents = Set(cents);
    account.update(txn).await?;
    Ok(())
}
