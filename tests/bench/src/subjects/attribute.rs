//! One function twice: with `#[with_dlock]`, and written by hand.

use dlock_bench_child::{Lock, Result, Sample, Subject};
use dlock_tests::connect;
use sea_orm::DatabaseConnection;

use crate::{by_attribute, by_hand};

/// A call takes and releases the lock, so there is nothing left to hold.
#[derive(Clone)]
pub(super) struct Call {
    db: DatabaseConnection,
    attribute: bool,
    number: u64,
}

impl Call {
    pub(super) async fn connect(sample: &Sample, attribute: bool) -> Result<Self> {
        let db = connect(&sample.url, 1).await;
        let number = 0;
        Ok(Self {
            db,
            attribute,
            number,
        })
    }
}

impl Subject for Call {
    type Lock = Self;

    async fn lock(&self, _key: String) -> Result<Self> {
        Ok(self.clone())
    }
}

impl Lock for Call {
    type Held = ();

    async fn acquire(&mut self) -> Result<()> {
        self.number += 1;
        if self.attribute {
            by_attribute(&self.db, self.number).await?;
        } else {
            by_hand(&self.db, self.number).await?;
        }
        Ok(())
    }

    async fn try_acquire(&mut self) -> Result<Option<()>> {
        self.acquire().await.map(Some)
    }

    async fn release(&mut self, (): ()) -> Result<()> {
        Ok(())
    }
}
