//! The requests.

use actix_web::web::{Data, Json, Path, ServiceConfig};
use actix_web::{HttpResponse, get, post};
use dlock::prelude::*;
use dlock_example_invoices::{self as invoices, Account, Invoice, Partners, account, invoice};
use sea_orm::{DatabaseConnection, EntityTrait};
use serde::Deserialize;

use crate::error::AppError;

pub(crate) fn routes(service: &mut ServiceConfig) {
    service
        .service(list_invoices)
        .service(pay)
        .service(export)
        .service(list_accounts)
        .service(transfer);
}

#[get("/invoices")]
async fn list_invoices(
    db: Data<DatabaseConnection>,
) -> Result<Json<Vec<invoice::Model>>, AppError> {
    Ok(Json(
        Invoice::find().order_by_id_asc().all(db.as_ref()).await?,
    ))
}

#[get("/accounts")]
async fn list_accounts(
    db: Data<DatabaseConnection>,
) -> Result<Json<Vec<account::Model>>, AppError> {
    Ok(Json(
        Account::find().order_by_id_asc().all(db.as_ref()).await?,
    ))
}

/// However many ask at once, on however many instances: one pays, and the others are told.
#[post("/invoices/{id}/pay")]
#[with_dlock(key = "invoice/{id}", timeout = "5s")]
async fn pay(
    db: Data<DatabaseConnection>,
    partners: Data<Partners>,
    id: Path<i64>,
) -> Result<Json<invoices::Receipt>, AppError> {
    Ok(Json(invoices::pay(db.as_ref(), &partners, *id).await?))
}

/// One at a time; who comes while it runs need not wait for it.
#[post("/export")]
#[with_dlock(key = "export", nowait)]
async fn export(
    db: Data<DatabaseConnection>,
    partners: Data<Partners>,
) -> Result<Json<invoices::Export>, AppError> {
    Ok(Json(invoices::export(db.as_ref(), &partners).await?))
}

#[derive(Debug, Deserialize)]
struct Transfer {
    from: i64,
    to: i64,
    cents: i64,
}

#[post("/transfers")]
async fn transfer(
    db: Data<DatabaseConnection>,
    transfer: Json<Transfer>,
) -> Result<HttpResponse, AppError> {
    let Transfer { from, to, cents } = transfer.into_inner();
    invoices::transfer(db.as_ref(), from, to, cents).await?;
    Ok(HttpResponse::NoContent().finish())
}
