use dlock::prelude::*;
use sea_orm::ConnectionTrait;

async fn pay<C: ConnectionTrait + dlock::DLockExt>(db: &C) -> Result<(), dlock::Error> {
    db.dlock("invoice/42").await?.release().await
}

fn main() {}
