use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job")]
struct S {
    db: DatabaseConnection,
}

fn main() {
    let _ = |s: S| s.db;
}
