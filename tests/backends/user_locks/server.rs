//! The two servers, and where they differ.

/// One of the two kinds of server.
pub(crate) trait Server: Sync + 'static {
    /// The variable with the URL of the main server.
    const URL: &str;
    /// The variable with the script of the one that may be stopped.
    const VICTIM: &str;
    /// After this statement those of its connection fail where others would wait for a row: at once, or after a second where there is nothing shorter.
    const IMPATIENCE: &str;
}

pub(crate) struct MariaDb;

impl Server for MariaDb {
    const URL: &str = "DLOCK_TEST_MARIADB_URL";
    const VICTIM: &str = "DLOCK_TEST_MARIADB_VICTIM";
    const IMPATIENCE: &str = "SET innodb_lock_wait_timeout = 0";
}

pub(crate) struct MySql;

impl Server for MySql {
    const URL: &str = "DLOCK_TEST_MYSQL_URL";
    const VICTIM: &str = "DLOCK_TEST_MYSQL_VICTIM";
    const IMPATIENCE: &str = "SET innodb_lock_wait_timeout = 1";
}
