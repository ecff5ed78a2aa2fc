//! Something to try things out on.

use chrono::NaiveDate;
use sea_orm::{ActiveValue::Set, EntityTrait};
use sea_orm_migration::prelude::*;

use crate::entity::{Account, Invoice, account, invoice};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, schema: &SchemaManager) -> Result<(), DbErr> {
        let db = schema.get_connection();
        let due = NaiveDate::default(); // in 1970: long due
        let invoices = [("Ada", 1200), ("Grace", 4250), ("Edsger", 999)];
        let invoices = invoices.map(|(customer, cents)| invoice::ActiveModel {
            customer: Set(customer.to_owned()),
            cents: Set(cents),
            due: Set(due),
            ..Default::default()
        });
        Invoice::insert_many(invoices).exec(db).await?;
        let accounts = ["Ada", "Grace"].map(|owner| account::ActiveModel {
            owner: Set(owner.to_owned()),
            cents: Set(100_000),
            ..Default::default()
        });
        Account::insert_many(accounts).exec(db).await?;
        Ok(())
    }
}
