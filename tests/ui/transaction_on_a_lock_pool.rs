use dlock::prelude::*;

async fn pay(pool: &LockPool) -> Result<(), dlock::Error> {
    pool.dlock("invoice/42").transaction(async |_txn| Ok(())).await
}

fn main() {}
