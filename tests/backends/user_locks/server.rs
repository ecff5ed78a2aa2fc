//! The two servers, and where they differ.

/// One of the two kinds of server.
pub(crate) trait Server: Sync + 'static {
    /// The other one.
    type Other: Server;

    /// As its makers write it.
    const NAME: &str;
    /// The variable with the URL of the main server.
    const URL: &str;
    /// The variable with the URL of another server, which knows nothing of the main one.
    const SECOND: &str;
    /// The variable with the URL of a load balancer that alternates between these two.
    const BALANCER: &str;
    /// The variable with the script of the one that may be stopped and changed.
    const VICTIM: &str;
    /// After this statement those of its connection fail where others would wait for a row: at once, or after a second where there is nothing shorter.
    const IMPATIENCE: &str;
    /// Whether names that differ in case only are one.
    const FOLDS_CASE: bool;
    /// The number of its error when two sessions wait for each other's locks.
    const DEADLOCK: u16;
    /// The setting of a session that ends its statements, and a tenth of a second in its unit.
    const STATEMENT_LIMIT: (&str, &str);
}

pub(crate) struct MariaDb;

impl Server for MariaDb {
    type Other = MySql;

    const NAME: &str = "MariaDB";
    const URL: &str = "DLOCK_TEST_MARIADB_URL";
    const SECOND: &str = "DLOCK_TEST_MARIADB_SECOND_URL";
    const BALANCER: &str = "DLOCK_TEST_HAPROXY_MARIADB_URL";
    const VICTIM: &str = "DLOCK_TEST_MARIADB_VICTIM";
    const IMPATIENCE: &str = "SET innodb_lock_wait_timeout = 0";
    const FOLDS_CASE: bool = false;
    const DEADLOCK: u16 = 1213;
    const STATEMENT_LIMIT: (&str, &str) = ("max_statement_time", "0.1");
}

pub(crate) struct MySql;

impl Server for MySql {
    type Other = MariaDb;

    const NAME: &str = "MySQL";
    const URL: &str = "DLOCK_TEST_MYSQL_URL";
    const SECOND: &str = "DLOCK_TEST_MYSQL_SECOND_URL";
    const BALANCER: &str = "DLOCK_TEST_HAPROXY_MYSQL_URL";
    const VICTIM: &str = "DLOCK_TEST_MYSQL_VICTIM";
    const IMPATIENCE: &str = "SET innodb_lock_wait_timeout = 1";
    const FOLDS_CASE: bool = true;
    const DEADLOCK: u16 = 3058;
    const STATEMENT_LIMIT: (&str, &str) = ("max_execution_time", "100");
}
