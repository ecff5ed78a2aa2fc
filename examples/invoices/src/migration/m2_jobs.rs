//! The job that reminds customers, which has never run.

use sea_orm::{ActiveModelTrait, ActiveValue::Set};
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{date_null, string};

use crate::actions::REMINDERS;
use crate::entity::job;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, schema: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("job")
            .col(string("name").primary_key())
            .col(date_null("last_run"))
            .to_owned();
        schema.create_table(table).await?;
        let job = job::ActiveModel {
            name: Set(REMINDERS.to_owned()),
            last_run: Set(None),
        };
        job.insert(schema.get_connection()).await.map(drop)
    }
}
