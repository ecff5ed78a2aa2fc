//! The contract, mounted for PostgreSQL.
