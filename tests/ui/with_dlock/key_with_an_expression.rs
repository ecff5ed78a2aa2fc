use dlock::with_dlock;
use sea_orm::DatabaseConnection;

struct New {
    sku: String,
}

#[with_dlock(key = "sku/{new.sku}")]
async fn one(db: &DatabaseConnection, new: New) -> Result<(), dlock::Error> {
    Ok(())
}

#[with_dlock(key = "{{{db:?}}} {new.sku:>8} {id} {new.sku.len()}")]
async fn some(db: &DatabaseConnection, new: New, id: i64) -> Result<(), dlock::Error> {
    Ok(())
}

fn main() {}
