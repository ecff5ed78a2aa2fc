//! Oracle: the database at `DLOCK_TEST_ORACLE_URL`. Run only when that is set; the unit tests of the session run always, on a driver in memory.

mod contract;
