//! What can be done. Each action reads what it decides by, so it is right for who has the lock, and wrong for who has not.

use chrono::NaiveDate;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, QueryOrder,
};
use serde::Serialize;

use crate::entity::{Account, Invoice, Job, account, invoice};
use crate::partners::Partners;

/// The name of the nightly job.
pub(crate) const REMINDERS: &str = "reminders";

/// Why something was not done, in words for customers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row.
    #[error("There is no {0} {1}.")]
    Missing(&'static str, i64),
    /// Somebody was faster.
    #[error("Invoice {0} is paid already.")]
    AlreadyPaid(i64),
    /// An account would have less than nothing.
    #[error("Account {0} has not enough money.")]
    NotEnough(i64),
    /// Not an amount that can be moved between these accounts.
    #[error("A transfer moves a positive amount between two accounts.")]
    NotATransfer,
    /// A partner did not do what we asked for, or we do not know.
    #[error("A partner of ours failed.")]
    Partner(#[from] reqwest::Error),
    /// The database failed.
    #[error("The database failed.")]
    Database(#[from] DbErr),
}

/// What a customer gets.
#[derive(Debug, Serialize)]
pub struct Receipt {
    /// Which invoice was paid.
    pub invoice: i64,
    /// How much it was.
    pub cents: i64,
}

/// What was exported.
#[derive(Debug, Serialize)]
pub struct Export {
    /// The number of invoices.
    pub invoices: usize,
}

/// Charges the customer and marks the invoice as paid, unless it is.
///
/// # Errors
///
/// [`Error::AlreadyPaid`], [`Error::Missing`], and those of the partner and the database.
pub async fn pay(
    db: &impl ConnectionTrait,
    partners: &Partners,
    id: i64,
) -> Result<Receipt, Error> {
    let invoice = Invoice::find_by_id(id).one(db).await?;
    let invoice = invoice.ok_or(Error::Missing("invoice", id))?;
    if invoice.paid {
        return Err(Error::AlreadyPaid(id));
    }
    let cents = invoice.cents;
    partners.charge(id, cents).await?;
    let mut invoice = invoice.into_active_model();
    invoice.paid = Set(true);
    invoice.update(db).await?;
    Ok(Receipt { invoice: id, cents })
}

/// Hands all invoices to the book-keeper.
///
/// # Errors
///
/// Those of the partner and the database.
pub async fn export(db: &impl ConnectionTrait, partners: &Partners) -> Result<Export, Error> {
    let invoices = Invoice::find()
        .order_by_asc(invoice::COLUMN.id)
        .all(db)
        .await?;
    partners.book(&invoices).await?;
    let invoices = invoices.len();
    Ok(Export { invoices })
}

/// Moves money, in a transaction of the caller's.
///
/// # Errors
///
/// [`Error::NotATransfer`], [`Error::Missing`], [`Error::NotEnough`], and those of the database.
pub async fn transfer(
    txn: &impl ConnectionTrait,
    from: i64,
    to: i64,
    cents: i64,
) -> Result<(), Error> {
    if from == to || cents <= 0 {
        return Err(Error::NotATransfer);
    }
    let payer = account(txn, from).await?;
    let payee = account(txn, to).await?;
    if payer.cents < cents {
        return Err(Error::NotEnough(from));
    }
    set_balance(txn, &payer, payer.cents - cents).await?;
    set_balance(txn, &payee, payee.cents + cents).await
}

async fn account(txn: &impl ConnectionTrait, id: i64) -> Result<account::Model, Error> {
    let account = Account::find_by_id(id).one(txn).await?;
    account.ok_or(Error::Missing("account", id))
}

async fn set_balance(
    txn: &impl ConnectionTrait,
    account: &account::Model,
    cents: i64,
) -> Result<(), Error> {
    let mut account = account.clone().into_active_model();
    account.cents = Set(cents);
    account.update(txn).await?;
    Ok(())
}

/// Reminds the customers of what was due before this night; `false` when that was done already.
///
/// # Errors
///
/// Those of the partner and the database.
pub async fn remind(
    db: &impl ConnectionTrait,
    partners: &Partners,
    night: NaiveDate,
) -> Result<bool, Error> {
    let job = Job::find_by_id(REMINDERS).one(db).await?;
    let job = job.ok_or_else(|| DbErr::RecordNotFound(REMINDERS.to_owned()))?;
    if job.last_run >= Some(night) {
        return Ok(false);
    }
    let late = Invoice::find()
        .filter(invoice::COLUMN.paid.eq(false))
        .filter(invoice::COLUMN.due.lt(night))
        .all(db)
        .await?;
    partners.remind(night, &late).await?;
    let mut job = job.into_active_model();
    job.last_run = Set(Some(night));
    job.update(db).await?;
    Ok(true)
}
