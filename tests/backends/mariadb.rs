//! MariaDB.

use crate::suite::contract;
use crate::user_locks::{MariaDb, UserLocks, user_locks};

contract!(UserLocks<MariaDb>);
user_locks! {
    MariaDb,
    without FOLDS_CASE: "MariaDB compares names by their bytes: two spellings are two locks",
    without GROUPS: "MariaDB has no group replication: its cluster is Galera",
}
