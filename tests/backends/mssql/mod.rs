//! SQL Server, or another server that speaks its protocol: the one at `DLOCK_TEST_MSSQL_URL`. Run only when that is set; see `tds` for what runs always.

mod contract;
