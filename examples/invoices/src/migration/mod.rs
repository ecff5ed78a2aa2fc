//! How the tables come to be. None of it may run twice: the second time there is a table already, or the demonstration data is there two times.

mod m1_tables;
mod m2_jobs;
mod m3_demo;

use sea_orm_migration::prelude::*;

/// All migrations, in their order.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m1_tables::Migration),
            Box::new(m2_jobs::Migration),
            Box::new(m3_demo::Migration),
        ]
    }
}
