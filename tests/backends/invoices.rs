//! Entities of invoices, whose tables are here or there.

/// A module with an entity for each `name(table_name = "..", ..)`.
macro_rules! invoices {
    ($($module:ident($($place:tt)*))*) => {
        $(mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
            #[sea_orm($($place)*)]
            pub(super) struct Model {
                #[sea_orm(primary_key)]
                pub(super) id: i64,
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub(super) enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        })*
    };
}
pub(crate) use invoices;
