//! What a process of the benchmark does for a sample, whichever lock it measures: it warms up, says `ready`, waits for a line on its standard input, works, and prints what
//! came out as one line of JSON. `peers.py` does the same for the locks of Python.

mod histogram;
mod lock;
mod outcome;
mod sample;
mod signal;
mod work;

pub use self::histogram::Histogram;
pub use self::lock::{Lock, Result, Subject};
pub use self::outcome::{Outcome, Turn};
pub use self::sample::{Keys, Sample, Work};
pub use self::work::measure;

use tokio::runtime::{Builder, Runtime};

/// Tokio's default runtime, with a worker for each core that this process may use, or the
/// current-thread runtime where the sample asks for it.
///
/// # Errors
///
/// Those of the operating system.
pub fn runtime(sample: &Sample) -> std::io::Result<Runtime> {
    let mut builder = match sample.current_thread {
        true => Builder::new_current_thread(),
        false => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}
