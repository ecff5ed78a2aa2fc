//! The conversation with the parent, on the standard streams.

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::spawn_blocking;

use crate::Result;

/// Reports to the parent that all is warm, and returns the instant at which all processes of the
/// sample start. The parent sends it as nanoseconds of the system's clock.
///
/// Most works start at once. A work that compares many processes waits for the instant, since the
/// parent writes to one process after the other.
pub(crate) async fn ready() -> Result<Instant> {
    println!("ready");
    io::stdout().flush()?;
    let mut line = String::new();
    let line = spawn_blocking(move || io::stdin().read_line(&mut line).map(|_| line)).await??;
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(line.trim().parse()?);
    // The instant has passed when this process is late.
    let left = start.duration_since(SystemTime::now()).unwrap_or_default();
    Ok(Instant::now() + left)
}
