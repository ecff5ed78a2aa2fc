use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job/{id}")]
async fn f(db: &DatabaseConnection) -> Result<(), dlock::Error> {
    let _ = db;
    Ok(())
}

fn main() {
    let _ = f;
}
