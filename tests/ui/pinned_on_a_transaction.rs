use dlock::prelude::*;
use sea_orm::DatabaseTransaction;

async fn pay(txn: &DatabaseTransaction) -> Result<PinnedGuard, dlock::Error> {
    txn.dlock("invoice/42").pinned().await
}

fn main() {}
