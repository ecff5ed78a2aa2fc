use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job", timeout = LIMIT)]
async fn f(db: &DatabaseConnection) -> Result<(), dlock::Error> {
    let _ = db;
    Ok(())
}

const LIMIT: u64 = 5;

fn main() {
    let _ = f;
}
