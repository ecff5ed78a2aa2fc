//! How fast dlock is, beside a raw connection and other locks: all in one run, each sample in a process of its own, in turn, for several rounds.
//! `cargo run --release -p dlock-bench` measures, prints tables, and writes `BENCHMARKS.md` with its charts. README says more; `--help` names the options.
//!
//! `plan` has what is measured, `subjects` and `peers` with what, `rounds` and `collect` measure it, `goals` and `report` tell. What a child process does is
//! the package `dlock-bench-child`, so that a lock of another workspace is measured by the same code.

mod attribute;
mod children;
mod collect;
mod cores;
mod goals;
mod hand_over;
mod heap;
mod interrupt;
mod machine;
mod options;
mod peers;
mod plan;
mod report;
mod results;
mod rounds;
mod servers;
mod sessions;
mod statistics;
mod subjects;

pub use self::attribute::{by_attribute, by_hand};
pub use self::heap::{HELD, Heap};
pub use self::options::Options;
pub use self::report::report;
pub use self::rounds::measure;
pub use self::servers::Server;
pub use self::subjects::run;
