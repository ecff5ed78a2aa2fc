//! MySQL.

mod group;

use crate::suite::contract;
use crate::user_locks::{MySql, UserLocks, user_locks};

contract!(UserLocks<MySql>);
user_locks!(MySql);
