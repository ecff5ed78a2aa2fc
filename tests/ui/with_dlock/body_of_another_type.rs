use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job")]
async fn f(db: &DatabaseConnection) -> Result<u32, dlock::Error> {
    let _ = db;
    Ok("one")
}

fn main() {
    let _ = f;
}
