//! A proxy in front of the server that knows the packets of the protocol.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>

mod link;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::link::Link;
use super::options::{lazy, options};
use crate::suite::Outcome;

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    Through,
    /// It has to wait until something else is said.
    Held,
    /// Silence once the client has said who it is.
    Greeted,
    Silent,
}

#[derive(Debug, Clone)]
struct Plan {
    to: (String, u16),
    fresh: Fresh,
}

/// For every connection that is open.
#[derive(Debug)]
enum Order {
    Silence,
    /// Another session of the server from now on, that has the same account and the same prepared statements.
    Swap,
    /// A statement in the client's place, whose answer is OK.
    Say(String),
}

/// An order, and what is dropped when it is carried out.
type Ordered = (Order, oneshot::Sender<()>);

/// What all connections have in common.
#[derive(Debug, Default)]
struct Shared {
    commands: AtomicUsize,
    preparations: AtomicUsize,
    farewells: AtomicUsize,
    ends: AtomicUsize,
    held: AtomicUsize,
    /// So many statements are answered as if an operator had ended them: prepared ones, and those in words.
    interrupts: [AtomicUsize; 2],
}

/// How dlock sends a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sent {
    /// A batch.
    Prepared,
    /// A wait, a sign of life, and whatever is asked again.
    InWords,
}

/// Listens as long as it lives.
pub(crate) struct Proxy {
    options: MySqlConnectOptions,
    plan: watch::Sender<Plan>,
    open: Arc<Mutex<Vec<mpsc::UnboundedSender<Ordered>>>>,
    shared: Arc<Shared>,
    _listening: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(url: &str) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let options = options(url)?
            .host("127.0.0.1")
            .port(listener.local_addr()?.port())
            .ssl_mode(MySqlSslMode::Disabled);
        let plan = Plan {
            to: address(url)?,
            fresh: Fresh::Through,
        };
        let plan = watch::Sender::new(plan);
        let (open, shared) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Shared>::default());
        let mut listening = JoinSet::new();
        listening.spawn({
            let (plan, open, shared) = (plan.subscribe(), Arc::clone(&open), Arc::clone(&shared));
            async move {
                let mut links = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let (sender, orders) = mpsc::unbounded_channel();
                    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                    open.push(sender);
                    let link = Link::new(plan.clone(), Arc::clone(&shared));
                    links.spawn(link.serve(client, orders));
                }
            }
        });
        Ok(Self {
            options,
            plan,
            open,
            shared,
            _listening: listening,
        })
    }

    /// The server, through this.
    pub(crate) fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }

    /// An application behind it that has no connection of its own yet: all that it opens by locking are lock sessions.
    pub(crate) fn db(&self) -> DatabaseConnection {
        lazy(self.options.clone())
    }

    pub(crate) fn db_with(&self, pool: MySqlPoolOptions) -> DatabaseConnection {
        pool.connect_lazy_with(self.options.clone()).into()
    }

    /// Connections that come from now on go there.
    pub(crate) fn aim(&self, url: &str) -> Outcome {
        let to = address(url)?;
        self.plan.send_modify(|plan| plan.to = to);
        Ok(())
    }

    pub(crate) fn fresh(&self, fresh: Fresh) {
        self.plan.send_modify(|plan| plan.fresh = fresh);
    }

    /// So many statements from now on fail.
    pub(crate) fn interrupt(&self, sent: Sent, statements: usize) {
        self.shared.interrupts[sent as usize].store(statements, Ordering::SeqCst);
    }

    /// Whether all of them have.
    pub(crate) fn has_interrupted(&self) -> bool {
        let none = |left: &AtomicUsize| left.load(Ordering::SeqCst) == 0;
        self.shared.interrupts.iter().all(none)
    }

    /// Those that are open stay open, and nothing passes any more.
    pub(crate) async fn silence(&self) {
        self.order(|| Order::Silence).await;
    }

    pub(crate) async fn swap(&self) {
        self.order(|| Order::Swap).await;
    }

    pub(crate) async fn say(&self, sql: &str) {
        self.order(|| Order::Say(sql.to_owned())).await;
    }

    async fn order(&self, order: impl Fn() -> Order) {
        let open = self.open.lock();
        let open = open.unwrap_or_else(PoisonError::into_inner).clone();
        for link in open {
            let (done, is_done) = oneshot::channel();
            if link.send((order(), done)).is_ok() {
                // One that has ended drops it.
                drop(is_done.await);
            }
        }
    }

    /// How many commands have passed.
    pub(crate) fn commands(&self) -> usize {
        self.shared.commands.load(Ordering::SeqCst)
    }

    /// How many statements were prepared.
    pub(crate) fn preparations(&self) -> usize {
        self.shared.preparations.load(Ordering::SeqCst)
    }

    /// How many connections have ended.
    pub(crate) fn ends(&self) -> usize {
        self.shared.ends.load(Ordering::SeqCst)
    }

    /// How many of those with a word.
    pub(crate) fn farewells(&self) -> usize {
        self.shared.farewells.load(Ordering::SeqCst)
    }

    /// How many connections wait.
    pub(crate) fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }
}

fn address(url: &str) -> Outcome<(String, u16)> {
    let server = options(url)?;
    Ok((server.get_host().to_owned(), server.get_port()))
}
