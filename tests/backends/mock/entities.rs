//! What rows are called, by vectors that were made with Python's `urllib.parse.quote` and `hashlib`: mocks show names and hashes without a server.

use dlock::prelude::*;
use dlock::{DLock, Error};
use sea_orm::prelude::{
    ChronoDate, ChronoDateTime, ChronoDateTimeUtc, ChronoDateTimeWithTimeZone, ChronoTime, Decimal,
    TimeDate, TimeDateTime, TimeDateTimeWithTimeZone, TimeTime, Uuid,
};
use sea_orm::sea_query::value::prelude::time::UtcOffset;
use sea_orm::{DatabaseConnection, DbBackend, TransactionTrait};
use serde_json::Value;

use super::mock;
use crate::suite::{Failure, Outcome};

const VECTORS: &str = include_str!("../../vectors/entities.json");

/// A part of a primary key, as the vectors write it.
trait Part: Sized {
    fn read(text: &str) -> Outcome<Self>;
}

macro_rules! parsed {
    ($($type:ty)*) => {
        $(impl Part for $type {
            fn read(text: &str) -> Outcome<Self> {
                Ok(text.parse()?)
            }
        })*
    };
}
parsed! { i32 i64 u64 bool String Uuid Decimal ChronoDate ChronoTime ChronoDateTime ChronoDateTimeWithTimeZone }

impl Part for Vec<u8> {
    fn read(text: &str) -> Outcome<Self> {
        let digit = |at: usize| Ok(u8::from_str_radix(&text[at..at + 2], 16)?);
        (0..text.len()).step_by(2).map(digit).collect()
    }
}

impl Part for ChronoDateTimeUtc {
    fn read(text: &str) -> Outcome<Self> {
        Ok(ChronoDateTimeWithTimeZone::read(text)?.to_utc())
    }
}

/// The numbers in a text; a fraction in nanoseconds.
fn numbers(text: &str) -> Outcome<Vec<u32>> {
    let numbers = text.split(['-', ':']).map(|number| {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction = format!("{fraction:0<9}");
        Ok([whole.parse()?, fraction.parse()?])
    });
    Ok(numbers.collect::<Outcome<Vec<_>>>()?.concat())
}

impl Part for TimeDate {
    fn read(text: &str) -> Outcome<Self> {
        let [year, _, month, _, day, _] = numbers(text)?[..] else {
            return Err(Failure::new(text));
        };
        let (month, day) = (u8::try_from(month)?, u8::try_from(day)?);
        Ok(Self::from_calendar_date(
            year.try_into()?,
            month.try_into()?,
            day,
        )?)
    }
}

impl Part for TimeTime {
    fn read(text: &str) -> Outcome<Self> {
        let [hour, _, minute, _, second, nano] = numbers(text)?[..] else {
            return Err(Failure::new(text));
        };
        let (hour, minute, second) = (hour.try_into()?, minute.try_into()?, second.try_into()?);
        Ok(Self::from_hms_nano(hour, minute, second, nano)?)
    }
}

impl Part for TimeDateTime {
    fn read(text: &str) -> Outcome<Self> {
        let (date, time) = text.split_once('T').ok_or_else(|| Failure::new(text))?;
        Ok(Self::new(TimeDate::read(date)?, TimeTime::read(time)?))
    }
}

impl Part for TimeDateTimeWithTimeZone {
    fn read(text: &str) -> Outcome<Self> {
        let (moment, offset) = text.split_once('+').ok_or_else(|| Failure::new(text))?;
        let [hours, _, minutes, _] = numbers(offset)?[..] else {
            return Err(Failure::new(text));
        };
        let offset = UtcOffset::from_hms(hours.try_into()?, minutes.try_into()?, 0)?;
        Ok(TimeDateTime::read(moment)?.assume_offset(offset))
    }
}

/// Entities, and how to lock a row of one by the vectors' name for the entity.
macro_rules! entities {
    ($($module:ident = $table:tt $(in $schema:tt)? { $($part:ident: $type:ty),+ })*) => {
        $(mod $module {
            use super::*;
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
            #[sea_orm($(schema_name = $schema,)? table_name = $table)]
            pub(super) struct Model {
                $(#[sea_orm(primary_key, auto_increment = false)] pub(super) $part: $type),+
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub(super) enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}

            pub(super) fn read(vector: &serde_json::Value) -> Outcome<Model> {
                let mut parts = vector["primary_key"].as_array().into_iter().flatten();
                let mut next = || parts.next().and_then(serde_json::Value::as_str).unwrap_or_default();
                Ok(Model { $($part: Part::read(next())?),+ })
            }
        })*

        /// The locks of the row by its model and by its primary key.
        fn locks<'a>(db: &'a DatabaseConnection, vector: &Value) -> Outcome<[DLock<'a, DatabaseConnection>; 2]> {
            match vector["entity"].as_str().unwrap_or_default() {
                $(stringify!($module) => {
                    let model = $module::read(vector)?;
                    let by_model = model.dlock(db);
                    Ok([by_model, $module::Entity::dlock(db, ($(model.$part),+))])
                })*
                other => Err(Failure::new(format!("no such entity: {other}"))),
            }
        }
    };
}
entities! {
    int = "invoice" { id: i32 }
    bigint = "invoice" { id: i64 }
    unsigned = "counter" { id: u64 }
    text = "article" { id: String }
    bytes = "blob" { id: Vec<u8> }
    bool = "flag" { id: bool }
    uuid = "token" { id: Uuid }
    decimal = "rate" { id: Decimal }
    chrono_date = "day" { id: ChronoDate }
    chrono_time = "hour" { id: ChronoTime }
    chrono_date_time = "moment" { id: ChronoDateTime }
    chrono_zoned = "instant" { id: ChronoDateTimeWithTimeZone }
    chrono_utc = "instant" { id: ChronoDateTimeUtc }
    time_date = "day" { id: TimeDate }
    time_time = "hour" { id: TimeTime }
    time_date_time = "moment" { id: TimeDateTime }
    time_zoned = "instant" { id: TimeDateTimeWithTimeZone }
    pair = "account" { id: i64, currency: String }
    triple = "price" in "shop" { invoice: i64, day: ChronoDate, article: Uuid }
    schema = "invoice" in "shop" { id: i32 }
    odd_schema = "d.e f" in "a.b/c" { id: i32 }
    wide_schema = "Rechnung" in "Läden" { id: i32 }
}

/// SQLite takes names as they are.
#[tokio::test]
async fn every_row_is_called_as_in_python() -> Outcome {
    let vectors: Value = serde_json::from_str(VECTORS)?;
    let vectors = vectors["vectors"].as_array().into_iter().flatten();
    let mut count = 0;
    for vector in vectors {
        for (backend, column) in [
            (DbBackend::Sqlite, "name"),
            (DbBackend::MySql, "mysql"),
            (DbBackend::Postgres, "postgresql"),
        ] {
            let db = mock(backend);
            for lock in locks(&db, vector)? {
                let guard = lock.await?;
                let physical = guard.physical_key().to_string();
                assert_eq!(Some(&*physical), vector[column].as_str(), "{vector}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 72);
    Ok(())
}

mod reading {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "reading")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) sensor: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) at: f64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[tokio::test]
async fn a_row_without_a_name_is_an_invalid_key_in_every_way() -> Outcome {
    for backend in super::BACKENDS {
        let db = mock(backend);
        let lock = || reading::Entity::dlock(&db, (7, 0.5));
        let run = lock().run(async |_| Ok::<_, Error>(()));
        let txn = mock(DbBackend::Postgres).begin().await?;
        for refused in [
            lock().await.map(drop),
            lock().try_acquire().await.map(drop),
            lock().pinned().await.map(drop),
            run.await,
            reading::Entity::dlock(&txn, (7, 0.5)).xact().await,
        ] {
            let Err(Error::InvalidKey { key, reason }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(key, "reading/7,?");
            assert!(reason.contains("a float"), "{reason}");
        }
    }
    Ok(())
}
