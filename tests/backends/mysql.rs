//! MySQL.

use crate::suite::contract;
use crate::user_locks::{MySql, UserLocks};

contract!(UserLocks<MySql>);
