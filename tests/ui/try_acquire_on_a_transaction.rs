use dlock::prelude::*;
use sea_orm::DatabaseTransaction;

async fn pay(txn: &DatabaseTransaction) -> Result<bool, dlock::Error> {
    Ok(txn.dlock("invoice/42").try_acquire().await?.is_some())
}

fn main() {}
