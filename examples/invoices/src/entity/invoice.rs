//! What is to be paid, by when.

use sea_orm::entity::prelude::*;
use serde::Serialize;

#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, Serialize)]
#[sea_orm(table_name = "invoice")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub customer: String,
    pub cents: i64,
    pub due: Date,
    pub paid: bool,
}

impl ActiveModelBehavior for ActiveModel {}
