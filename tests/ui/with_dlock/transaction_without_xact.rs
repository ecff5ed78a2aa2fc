use dlock::with_dlock;
use sea_orm::DatabaseTransaction;

#[with_dlock(key = "job")]
async fn f(db: &DatabaseTransaction) -> Result<(), dlock::Error> {
    let _ = db;
    Ok(())
}

fn main() {
    let _ = f;
}
