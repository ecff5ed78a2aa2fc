use dlock::prelude::*;
use sea_orm::DatabaseConnection;

async fn pay(db: &DatabaseConnection) -> Result<(), dlock::Error> {
    let _guard = db.dlock(4.2).await?;
    Ok(())
}

fn main() {}
