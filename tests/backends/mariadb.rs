//! MariaDB.

use crate::suite::contract;
use crate::user_locks::{MariaDb, UserLocks};

contract!(UserLocks<MariaDb>);
