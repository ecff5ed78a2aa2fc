use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job")]
async fn f(db: &DatabaseConnection) -> Result<(), std::io::Error> {
    let _ = db;
    Ok(())
}

fn main() {
    let _ = f;
}
