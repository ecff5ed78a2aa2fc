//! What can be done. Each action reads what it decides by, so it is right for who has the lock, and wrong for who has not.

use chrono::NaiveDate;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, QueryOrder,
};
use serde::Serialize;

use crate::entity::{Invoice, Job, invoice};
use crate::error::Error;
use crate::partners::Partners;

/// The name of the nightly job.
pub(crate) const REMINDERS: &str = "reminders";

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

/// Reminds the customers of what was due before this night; `false` when that was done already.
pub(crate) async fn remind(
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
