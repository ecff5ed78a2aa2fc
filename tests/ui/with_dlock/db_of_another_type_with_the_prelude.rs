use dlock::prelude::*;
use sea_orm::ConnectionTrait;

#[with_dlock(key = "job")]
async fn f<C: ConnectionTrait>(db: &C) -> Result<(), dlock::Error> {
    let _ = db;
    Ok(())
}

fn main() {
    let _ = f::<sea_orm::DatabaseConnection>;
}
