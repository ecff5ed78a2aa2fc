use dlock::prelude::*;
use sea_orm::DatabaseTransaction;

async fn pay(txn: &DatabaseTransaction) -> Result<(), dlock::Error> {
    txn.dlock("invoice/42").await?;
    Ok(())
}

fn main() {}
