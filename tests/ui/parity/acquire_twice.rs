use dlock::prelude::*;
use sea_orm::DatabaseConnection;

async fn pay(db: &DatabaseConnection) -> Result<(), dlock::Error> {
    let lock = db.dlock("invoice/42");
    let _first = lock.acquire().await?;
    let _second = lock.acquire().await?;
    Ok(())
}

fn main() {}
