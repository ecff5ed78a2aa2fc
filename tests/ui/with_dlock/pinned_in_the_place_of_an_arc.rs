use std::sync::Arc;

use dlock::with_dlock;
use sea_orm::DatabaseConnection;

#[with_dlock(key = "job", pinned)]
async fn f(db: Arc<DatabaseConnection>) -> Result<(), dlock::Error> {
    let _ = db;
    Ok(())
}

fn main() {
    let _ = f;
}
