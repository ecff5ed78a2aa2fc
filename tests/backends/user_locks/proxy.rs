//! A proxy in front of the server that knows the packets of the protocol.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>

mod link;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::link::Link;
use super::witness::options;
use crate::suite::Outcome;

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fresh {
    Through,
    /// Silence once the client has said who it is.
    Greeted,
    Silent,
}

#[derive(Debug)]
enum Order {
    Silence,
    /// Another session of the server from now on, that has the same account and the same prepared statements.
    Swap,
    /// A statement in the client's place, whose answer is OK.
    Say(String),
    /// This many statements are answered as if an operator had ended them.
    Interrupt(usize),
    /// No statement is prepared any more, as where the server has no room for it; or again.
    RefuseToPrepare(bool),
}

/// What has passed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) commands: AtomicUsize,
    pub(crate) farewells: AtomicUsize,
    pub(crate) ends: AtomicUsize,
}

/// An order, and what is dropped when it is carried out.
type Ordered = (Order, oneshot::Sender<()>);

/// Listens as long as it lives.
pub(crate) struct Proxy {
    options: MySqlConnectOptions,
    fresh: watch::Sender<Fresh>,
    open: Arc<Mutex<Vec<mpsc::UnboundedSender<Ordered>>>>,
    pub(crate) seen: Arc<Seen>,
    _listening: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(url: &str) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = options(url)?;
        let to = (server.get_host().to_owned(), server.get_port());
        let options = server
            .host("127.0.0.1")
            .port(listener.local_addr()?.port())
            .ssl_mode(MySqlSslMode::Disabled);
        let (fresh, flow) = watch::channel(Fresh::Through);
        let (open, seen) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Seen>::default());
        let mut listening = JoinSet::new();
        listening.spawn({
            let (open, seen) = (Arc::clone(&open), Arc::clone(&seen));
            async move {
                let mut links = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let (sender, orders) = mpsc::unbounded_channel();
                    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                    open.push(sender);
                    let link = Link::new(to.clone(), *flow.borrow(), Arc::clone(&seen));
                    links.spawn(link.serve(client, orders));
                }
            }
        });
        Ok(Self {
            options,
            fresh,
            open,
            seen,
            _listening: listening,
        })
    }

    /// An application behind it that has no connection of its own yet: all that it opens by locking are lock sessions.
    pub(crate) fn db(&self, pool: MySqlPoolOptions) -> DatabaseConnection {
        pool.connect_lazy_with(self.options.clone()).into()
    }

    pub(crate) fn fresh(&self, fresh: Fresh) {
        self.fresh.send_replace(fresh);
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

    pub(crate) async fn interrupt(&self, statements: usize) {
        self.order(|| Order::Interrupt(statements)).await;
    }

    pub(crate) async fn refuse_to_prepare(&self, refuse: bool) {
        self.order(|| Order::RefuseToPrepare(refuse)).await;
    }

    /// For every connection that is open now.
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
}
