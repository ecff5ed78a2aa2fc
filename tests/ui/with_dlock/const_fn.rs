use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job")]
const fn f(db: &DatabaseConnection) {
    let _ = db;
}

fn main() {
    let _ = f;
}
