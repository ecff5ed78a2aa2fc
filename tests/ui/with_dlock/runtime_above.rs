use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[tokio::main]
#[with_dlock(key = "job", db = db())]
async fn main() -> Result<(), dlock::Error> {
    Ok(())
}

fn db() -> DatabaseConnection {
    DatabaseConnection::default()
}
