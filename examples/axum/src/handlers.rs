//! The requests.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use dlock::prelude::*;
use dlock_example_invoices::{self as invoices, Account, Invoice, Partners, account, invoice};
use sea_orm::{DatabaseConnection, EntityTrait};
use serde::Deserialize;

use crate::App;
use crate::error::AppError;

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/invoices", get(list_invoices))
        .route("/invoices/{id}/pay", post(pay))
        .route("/export", post(export))
        .route("/accounts", get(list_accounts))
        .route("/transfers", post(transfer))
        .with_state(app)
}

async fn list_invoices(
    State(db): State<DatabaseConnection>,
) -> Result<Json<Vec<invoice::Model>>, AppError> {
    Ok(Json(Invoice::find().order_by_id_asc().all(&db).await?))
}

async fn list_accounts(
    State(db): State<DatabaseConnection>,
) -> Result<Json<Vec<account::Model>>, AppError> {
    Ok(Json(Account::find().order_by_id_asc().all(&db).await?))
}

/// However many ask at once, on however many instances: one pays, and the others are told.
#[with_dlock(key = "invoice/{id}", timeout = "5s")]
async fn pay(
    State(db): State<DatabaseConnection>,
    State(partners): State<Partners>,
    Path(id): Path<i64>,
) -> Result<Json<invoices::Receipt>, AppError> {
    Ok(Json(invoices::pay(&db, &partners, id).await?))
}

/// One at a time; who comes while it runs need not wait for it.
#[with_dlock(key = "export", nowait)]
async fn export(
    State(db): State<DatabaseConnection>,
    State(partners): State<Partners>,
) -> Result<Json<invoices::Export>, AppError> {
    Ok(Json(invoices::export(&db, &partners).await?))
}

#[derive(Debug, Deserialize)]
struct Transfer {
    from: i64,
    to: i64,
    cents: i64,
}

async fn transfer(
    State(db): State<DatabaseConnection>,
    Json(Transfer { from, to, cents }): Json<Transfer>,
) -> Result<StatusCode, AppError> {
    invoices::transfer(&db, from, to, cents).await?;
    Ok(StatusCode::NO_CONTENT)
}
