use dlock::DLockExt;
use sea_orm::DatabaseConnection;

struct Invoices {
    _db: DatabaseConnection,
}

async fn pay(invoices: Invoices) -> Result<(), dlock::Error> {
    invoices.dlock("invoice/42").await?.release().await
}

fn main() {}
