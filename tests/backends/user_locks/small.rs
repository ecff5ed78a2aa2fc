//! The server that a test may make small: with few connections, or without prepared statements.

use dlock_tests::{Victim, env};
use sea_orm::sqlx::ConnectOptions;
use tokio::task::{LocalSet, spawn_local};

use super::Server;
use super::raw::{Raw, name, options};
use crate::suite::Outcome;

/// The server, an account on it that has no place reserved for it, and an administrator.
pub(crate) struct Small {
    _victim: Victim,
    url: String,
    account: String,
    admin: Raw,
}

impl Small {
    pub(crate) async fn take<S: Server>() -> Outcome<Self> {
        let victim = Victim::take(env(S::VICTIM)).await?;
        let url = victim.url().await?;
        let (mut admin, account) = (Raw::at(&url).await?, name());
        admin.run(&format!("CREATE USER {account}")).await?;
        let grant = format!("GRANT SELECT ON dlock.* TO {account}");
        admin.run(&grant).await?;
        let url = options(&url)?.username(&account).to_url_lossy();
        let mut small = Self {
            _victim: victim,
            url: url.to_string(),
            account,
            admin,
        };
        small.set_back().await?;
        Ok(small)
    }

    /// For the test: another administrator, and where the application connects to.
    pub(crate) async fn admin(&self) -> Outcome<(Raw, String)> {
        let admin = options(&self.url)?.username("dlock").to_url_lossy();
        Ok((Raw::at(admin.as_str()).await?, self.url.clone()))
    }

    /// Runs a test there, and sets back what it has set, whatever becomes of it.
    pub(crate) async fn run(mut self, test: impl Future<Output = Outcome> + 'static) -> Outcome {
        // Rust cannot show of every test that it may change threads.
        let test = async { spawn_local(test).await };
        let result = LocalSet::new().run_until(test).await;
        self.set_back().await?;
        self.admin
            .run(&format!("DROP USER {}", self.account))
            .await?;
        result?
    }

    async fn set_back(&mut self) -> Outcome {
        for setting in ["max_connections = 500", "max_prepared_stmt_count = 16382"] {
            self.admin.run(&format!("SET GLOBAL {setting}")).await?;
        }
        Ok(())
    }
}
