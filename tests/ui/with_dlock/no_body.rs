use dlock::with_dlock;
use sea_orm::DatabaseConnection;


trait Job {
    #[with_dlock(key = "job")]
    async fn run(&self, db: &DatabaseConnection) -> Result<(), dlock::Error>;
}

fn main() {
    fn _f(_: impl Job) {}
}
