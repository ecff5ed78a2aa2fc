//! A proxy in front of a server: new connections can be made to wait, or go to another server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sea_orm::sqlx::ConnectOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::raw::options;
use crate::suite::Outcome;

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy)]
struct Plan {
    target: SocketAddr,
    held: bool,
}

/// Ends, and all connections through it, when it is dropped.
pub(crate) struct Switch {
    url: String,
    plan: Arc<watch::Sender<Plan>>,
    holds: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Switch {
    pub(crate) async fn to(url: &str) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let plan = Plan {
            target: address(url)?,
            held: false,
        };
        let (plan, holds) = (Arc::new(watch::Sender::new(plan)), Arc::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&plan), Arc::clone(&holds)));
        Ok(Self {
            url: options(url)?.port(port).to_url_lossy().to_string(),
            plan,
            holds,
            _accepting: accepting,
        })
    }

    /// The server, through this.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Connections that come from now on go there.
    pub(crate) fn aim(&self, url: &str) -> Outcome {
        let target = address(url)?;
        self.plan.send_modify(|plan| plan.target = target);
        Ok(())
    }

    /// Whether connections have to wait here.
    pub(crate) fn hold(&self, held: bool) {
        self.plan.send_modify(|plan| plan.held = held);
    }

    /// How many do.
    pub(crate) fn holds(&self) -> usize {
        self.holds.load(Ordering::SeqCst)
    }
}

fn address(url: &str) -> Outcome<SocketAddr> {
    let url = options(url)?.to_url_lossy();
    let (host, port) = (url.host_str().unwrap_or_default(), url.port());
    Ok(format!("{host}:{}", port.unwrap_or(3306)).parse()?)
}

async fn accept(listener: TcpListener, plan: Arc<watch::Sender<Plan>>, holds: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (mut plan, holds) = (plan.subscribe(), Arc::clone(&holds));
        connections.spawn(async move {
            holds.fetch_add(1, Ordering::SeqCst);
            let target = plan
                .wait_for(|plan| !plan.held)
                .await
                .map(|plan| plan.target);
            holds.fetch_sub(1, Ordering::SeqCst);
            if let Ok(target) = target {
                relay(client, target).await;
            }
        });
    }
}

async fn relay(mut client: TcpStream, target: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(target).await
        && client
            .set_nodelay(true)
            .and(server.set_nodelay(true))
            .is_ok()
    {
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
    }
}
