use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "{_id}}")]
async fn closed_twice(db: &DatabaseConnection, _id: i64) -> Result<(), dlock::Error> {
    let _ = db;
    Ok(())
}

#[with_dlock(key = "{_id")]
async fn not_closed(db: &DatabaseConnection, _id: i64) -> Result<(), dlock::Error> {
    let _ = db;
    Ok(())
}

fn main() {}
