use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job")]
async fn f(connection: &DatabaseConnection) -> Result<(), dlock::Error> {
    let _ = connection;
    Ok(())
}

fn main() {
    let _ = f;
}
