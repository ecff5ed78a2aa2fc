use dlock::with_dlock;

#[with_dlock(key = "job", db = name)]
async fn f(name: &str) -> Result<(), dlock::Error> {
    let _ = name;
    Ok(())
}

fn main() {
    let _ = f;
}
