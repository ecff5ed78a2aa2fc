#![deny(unused_variables)]

use dlock::with_dlock;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

struct Service {
    db: DatabaseConnection,
}

impl Service {
    #[with_dlock(key = "job", pinned, db = self.db)]
    async fn f(&self) -> Result<(), DbErr> {
        self.db.execute_unprepared("SELECT 1").await?;
        Ok(())
    }
}

fn main() {
    let _ = Service::f;
}
