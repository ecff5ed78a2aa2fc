use dlock::with_dlock;
use sea_orm::DatabaseConnection;

struct AppState {
    db: DatabaseConnection,
}

#[with_dlock(key = "job", db = state)]
async fn f(state: &AppState) -> Result<(), dlock::Error> {
    let _ = &state.db;
    Ok(())
}

fn main() {
    let _ = f;
}
