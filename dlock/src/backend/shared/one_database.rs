//! The sessions of a pool are all in one database.

use std::sync::OnceLock;

use crate::error::Error;
use crate::key::CurrentDatabase;

/// The database that the first session of a connector was in.
#[derive(Default)]
pub(crate) struct OneDatabase(OnceLock<CurrentDatabase>);

impl OneDatabase {
    pub(crate) fn get(&self) -> CurrentDatabase {
        self.0.get().cloned().unwrap_or(CurrentDatabase::Unknown)
    }

    /// A session is in this one. PostgreSQL's locks exclude no session of another database, and a
    /// row there is another row.
    pub(crate) fn meet(&self, name: Option<String>) -> Result<(), Error> {
        let found = CurrentDatabase::named(name);
        match *self.0.get_or_init(|| found.clone()) == found {
            true => Ok(()),
            false => Err(ANOTHER_DATABASE),
        }
    }
}

const ANOTHER_DATABASE: Error = Error::refused(
    "another database than the one that this connection's lock sessions were in before",
    "one database for all sessions of a pool",
    "connect anew, or restart the service",
);
