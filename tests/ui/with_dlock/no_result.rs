use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job")]
async fn f(db: &DatabaseConnection) -> u32 {
    let _ = db;
    1
}

fn main() {
    let _ = f;
}
