//! The only statement of SQLite.

/// The first row is the main database. sea-query has no words for a pragma, and a `SELECT` from it
/// would wait for the connection that locks the database.
/// <https://www.sqlite.org/pragma.html#pragma_database_list>
pub(crate) const DATABASE_LIST: &str = "PRAGMA database_list";

/// Its column with the absolute path without symbolic links, empty for a database in memory.
pub(crate) const FILE: &str = "file";
