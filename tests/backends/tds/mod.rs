//! The session on SQL Server, by the real tiberius over a real socket, with a server in this process (package `dlock-tds`): it says what no server says on demand.

mod batches;
mod cancelled;
mod contract;
mod cuts;
mod cuts_idle;
mod keys;
mod listing;
mod refusals;
mod scene;
mod silence;
mod statuses;
mod statuses_of_releases;
mod statuses_of_waits;
mod tls;
mod upgrades;
mod upgrades_doubted;

use self::scene::{Of, Scene, row, why};
