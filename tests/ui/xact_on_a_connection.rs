use dlock::prelude::*;
use sea_orm::DatabaseConnection;

async fn pay(db: &DatabaseConnection) -> Result<(), dlock::Error> {
    db.dlock("invoice/42").xact().await
}

fn main() {}
