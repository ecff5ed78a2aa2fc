//! The server that a test may change. Afterwards it is as before, whatever becomes of the test.

use dlock_tests::{Victim, env};
use tokio::task::{LocalSet, spawn_local};

use super::Server;
use super::raw::Raw;
use crate::suite::Outcome;

pub(crate) struct Changed {
    victim: Victim,
    admin: Raw,
    /// The statements that undo what the test does.
    back: Vec<String>,
}

impl Changed {
    pub(crate) async fn take<S: Server>(
        back: impl IntoIterator<Item = impl Into<String>>,
    ) -> Outcome<Self> {
        let victim = Victim::take(env(S::VICTIM)).await?;
        let admin = Raw::at(&victim.url().await?).await?;
        let back = back.into_iter().map(Into::into).collect();
        let mut changed = Self {
            victim,
            admin,
            back,
        };
        // A process that was killed may have left it changed; or else there is nothing to undo.
        drop(changed.set_back().await);
        Ok(changed)
    }

    pub(crate) async fn url(&self) -> Outcome<String> {
        Ok(self.victim.url().await?)
    }

    pub(crate) async fn run(mut self, test: impl Future<Output = Outcome> + 'static) -> Outcome {
        // Rust cannot show of every test that it may change threads.
        let test = async { spawn_local(test).await };
        let result = LocalSet::new().run_until(test).await;
        let is_back = self.set_back().await;
        result??;
        is_back
    }

    /// All of them, even if one fails.
    async fn set_back(&mut self) -> Outcome {
        let mut result = Ok(());
        for statement in &self.back {
            result = result.and(self.admin.run(statement).await);
        }
        result
    }
}
