//! What people call a lock, and what a server calls it.

mod row;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The name of a lock: text, bytes, a 64-bit integer, or a pair of 32-bit integers.
///
/// The same key means the same lock in every process on the same database, and, where it has that database, in Python's sqlalchemy-dlock 0.8.1.
/// Text and bytes with the same content are one key; an integer and its decimal text are two on PostgreSQL and Oracle, and one elsewhere. On Oracle, where a lock is a number of 30 bits,
/// different keys may meet.
/// The keys of other libraries are in `dlock::compat` (feature `postgres`).
///
/// | database | text, bytes | integer | pair |
/// |---|---|---|---|
/// | PostgreSQL | BLAKE2b with an 8-byte digest, read as a signed little-endian `i64` | itself | the two-integer key space, apart from the other |
/// | MySQL, MariaDB | itself; bytes must be UTF-8 text. What the server would refuse or cut is hashed: see below | its decimal text | [`Error::Unsupported`](crate::Error::Unsupported) |
/// | SQLite | itself, of any length; bytes must be UTF-8 text | its decimal text | [`Error::Unsupported`](crate::Error::Unsupported) |
/// | SQL Server | itself, up to 255 UTF-16 units; longer ones, or with a NUL, are hashed as below; bytes must be UTF-8 text | its decimal text | [`Error::Unsupported`](crate::Error::Unsupported) |
/// | Oracle | BLAKE2b as on PostgreSQL, modulo 2³⁰ | modulo 2³⁰ | [`Error::Unsupported`](crate::Error::Unsupported) |
///
/// The key of a row of a SeaORM entity is text; see [`EntityDLockExt`](crate::EntityDLockExt).
///
/// The empty text is [`Error::InvalidKey`](crate::Error::InvalidKey).
///
/// [MySQL](https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html) takes names of up to 64 characters, none of which has four bytes in UTF-8 (as emoji have), and does not tell
/// upper from lower case; MariaDB takes 192 bytes, and tells. Both end a name at a NUL. A name beyond that becomes its BLAKE2b digest of 32 bytes in hexadecimal, as
/// `printf %s NAME | b2sum -l 256` prints it.
///
/// ```
/// use dlock::Key;
///
/// assert_eq!(Key::from("invoice/42").to_string(), "invoice/42");
/// assert_eq!(Key::from((7, 42)).to_string(), "(7, 42)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Given);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Given {
    Whole(KeyRepr),
    /// `{table}/{primary key}`: the current database belongs in front, which only its server can name.
    Row(Arc<str>),
    /// What nothing can be called by, and why.
    Nameless(Arc<str>, &'static str),
}

/// What a backend makes the lock's name on the server of.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeyRepr {
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    Int(i64),
    Pair(i32, i32),
}

/// A key that is no lock's, and why.
#[derive(Debug)]
pub(crate) struct InvalidKey {
    /// The key as it was given.
    pub(crate) key: String,
    pub(crate) reason: &'static str,
}

/// The database that a session is in, as its server calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CurrentDatabase {
    /// Nobody has asked the server yet.
    Unknown,
    /// MySQL and MariaDB have sessions without one.
    Unselected,
    Named(Arc<str>),
}

impl CurrentDatabase {
    /// As its server has answered.
    pub(crate) fn named(name: Option<String>) -> Self {
        name.map_or(Self::Unselected, |name| Self::Named(name.into()))
    }
}

impl Key {
    /// The key with all that belongs to it; `None` when the database must be known first.
    pub(crate) fn repr(
        &self,
        database: impl FnOnce() -> CurrentDatabase,
    ) -> Result<Option<Cow<'_, KeyRepr>>, InvalidKey> {
        let invalid = |reason| InvalidKey {
            key: self.to_string(),
            reason,
        };
        match &self.0 {
            Given::Whole(repr) => Ok(Some(Cow::Borrowed(repr))),
            Given::Row(row) => match database() {
                CurrentDatabase::Unknown => Ok(None),
                CurrentDatabase::Unselected => Err(invalid(row::NO_DATABASE)),
                CurrentDatabase::Named(database) => {
                    Ok(Some(Cow::Owned(row::within(&database, row))))
                }
            },
            Given::Nameless(_, reason) => Err(invalid(reason)),
        }
    }
}

impl KeyRepr {
    /// The key inside a namespace: text `{namespace}:{key}`, an integer by its decimal text, a pair as `{a},{b}`.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        match self {
            Self::Text(text) => Self::Text(format!("{namespace}:{text}").into()),
            Self::Bytes(bytes) => Self::Bytes([namespace.as_bytes(), b":", bytes].concat().into()),
            Self::Int(int) => Self::Text(format!("{namespace}:{int}").into()),
            Self::Pair(a, b) => Self::Text(format!("{namespace}:{a},{b}").into()),
        }
    }
}

/// The key as a person would write it; bytes that are not UTF-8 in hexadecimal; a row of the current database without that.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Given::Whole(repr) => repr.fmt(f),
            Given::Row(text) | Given::Nameless(text, _) => f.write_str(text),
        }
    }
}

impl fmt::Display for KeyRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => f.write_str(text),
                Err(_) => {
                    f.write_str("0x")?;
                    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
                }
            },
            Self::Int(int) => int.fmt(f),
            Self::Pair(a, b) => write!(f, "({a}, {b})"),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

macro_rules! key_from {
    ($($from:ty => |$value:ident| $repr:expr;)*) => {
        $(impl From<$from> for Key {
            fn from($value: $from) -> Self {
                Self(Given::Whole($repr))
            }
        })*
    };
}

key_from! {
    &str => |text| KeyRepr::Text(text.into());
    &String => |text| KeyRepr::Text(text.as_str().into());
    String => |text| KeyRepr::Text(text.into());
    Cow<'_, str> => |text| KeyRepr::Text(text.into());
    &[u8] => |bytes| KeyRepr::Bytes(bytes.into());
    Vec<u8> => |bytes| KeyRepr::Bytes(bytes.into());
    i64 => |int| KeyRepr::Int(int);
    i32 => |int| KeyRepr::Int(int.into());
    u32 => |int| KeyRepr::Int(int.into());
    (i32, i32) => |pair| KeyRepr::Pair(pair.0, pair.1);
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}

/// Its hyphenated lower-case text.
#[cfg(feature = "with-uuid")]
impl From<sea_orm::prelude::Uuid> for Key {
    fn from(uuid: sea_orm::prelude::Uuid) -> Self {
        uuid.hyphenated().to_string().into()
    }
}

/// What the server knows a lock by: after hashing, where the backend hashes.
///
/// Two keys with one physical key are one lock. Its text is what an operator looks for on the server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PhysicalKey {
    /// A 64-bit number.
    Int(i64),
    /// Two 32-bit numbers, a key space of its own.
    Pair(i32, i32),
    /// A name.
    Name(Arc<str>),
}

impl fmt::Display for PhysicalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => int.fmt(f),
            Self::Pair(a, b) => write!(f, "({a}, {b})"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
