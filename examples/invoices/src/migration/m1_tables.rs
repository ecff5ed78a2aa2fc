//! Invoices and accounts.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, boolean, date, pk_auto, string};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, schema: &SchemaManager) -> Result<(), DbErr> {
        let invoice = Table::create()
            .table("invoice")
            .col(pk_auto("id").big_integer())
            .col(string("customer"))
            .col(big_integer("cents"))
            .col(date("due"))
            .col(boolean("paid").default(false))
            .to_owned();
        schema.create_table(invoice).await?;
        let account = Table::create()
            .table("account")
            .col(pk_auto("id").big_integer())
            .col(string("owner"))
            .col(big_integer("cents"))
            .to_owned();
        schema.create_table(account).await
    }
}
