//! The conversation with the parent, on the standard streams.

use std::io::{self, Write};

use tokio::task::spawn_blocking;

use crate::Result;

/// Tells the parent that all is warm, and waits for its word.
pub(crate) async fn ready() -> Result<()> {
    println!("ready");
    io::stdout().flush()?;
    let mut line = String::new();
    spawn_blocking(move || io::stdin().read_line(&mut line)).await??;
    Ok(())
}
