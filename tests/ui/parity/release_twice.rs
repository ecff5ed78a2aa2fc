use dlock::prelude::*;
use sea_orm::DatabaseConnection;

async fn pay(db: &DatabaseConnection) -> Result<(), dlock::Error> {
    let guard = db.dlock("invoice/42").await?;
    guard.release().await?;
    guard.release().await
}

fn main() {}
