//! MariaDB.

use crate::suite::contract;
use crate::user_locks::{MariaDb, UserLocks, user_locks};

contract!(UserLocks<MariaDb>);
user_locks!(MariaDb);
