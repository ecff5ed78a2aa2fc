//! The names of SQL Server's application locks.

use crate::backend::rules::LockRules;
use crate::backend::shared::names::{hashed, lock_name};
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// In UTF-16 code units. The server cuts a longer name silently, and does not document NUL.
const LONGEST_NAME: usize = 255;

const NAME: &str = "SQL Server";

pub(super) static RULES: LockRules = LockRules {
    database: NAME,
    modes: &[Mode::Exclusive, Mode::Shared, Mode::Update],
    physical_key,
    refusal: None,
};

fn physical_key(key: &KeyRepr) -> Result<Option<PhysicalKey>, Error> {
    let name = lock_name(key, NAME)?;
    let fits = name.encode_utf16().count() <= LONGEST_NAME && !name.contains('\0');
    let name = if fits { name } else { hashed(&name) };
    Ok(Some(PhysicalKey::Name(name)))
}
