//! A proxy in front of a server that answers the next prepared statement itself, as if an operator had ended it before it began: `KILL QUERY`, at the right moment.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sea_orm::sqlx::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::raw::options;
use crate::suite::Outcome;

const EXECUTE: u8 = 0x17;

/// Error 1317, the first packet after the request.
const INTERRUPTED: &[u8] = b"\x28\0\0\x01\xff\x25\x05#70100Query execution was interrupted";

/// Ends, and all connections through it, when it is dropped.
pub(crate) struct Interrupter {
    url: String,
    armed: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Interrupter {
    pub(crate) async fn before(url: &str) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let server = options(url)?.to_url_lossy();
        let server = format!("127.0.0.1:{}", server.port().unwrap_or(3306));
        let armed = Arc::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, Arc::clone(&armed)));
        Ok(Self {
            url: options(url)?.port(port).to_url_lossy().to_string(),
            armed,
            _accepting: accepting,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// So many statements from now on fail.
    pub(crate) fn interrupt(&self, statements: usize) {
        self.armed.store(statements, Ordering::SeqCst);
    }

    /// Whether all of them have.
    pub(crate) fn is_done(&self) -> bool {
        self.armed.load(Ordering::SeqCst) == 0
    }
}

async fn accept(listener: TcpListener, server: String, armed: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if let Ok(server) = TcpStream::connect(&server).await {
            // What is held back until the last packet is acknowledged comes 40 ms late.
            let at_once = client.set_nodelay(true).and(server.set_nodelay(true));
            at_once.expect("a socket that is open");
            connections.spawn(relay(client, server, Arc::clone(&armed)));
        }
    }
}

async fn relay(client: TcpStream, server: TcpStream, armed: Arc<AtomicUsize>) {
    let (from_client, to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let to_client = Arc::new(Mutex::new(to_client));
    let answers = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let mut to_client = to_client.lock().await;
            if to_client.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = answers => {}
        _ended = requests(from_client, to_server, &to_client, &armed) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: &Mutex<OwnedWriteHalf>,
    armed: &AtomicUsize,
) -> std::io::Result<()> {
    loop {
        let mut header = [0; 4];
        from.read_exact(&mut header).await?;
        let [a, b, c, sequence] = header;
        let mut payload = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
        from.read_exact(&mut payload).await?;
        let is_statement = sequence == 0 && payload.first() == Some(&EXECUTE);
        let fewer = |armed: usize| armed.checked_sub(1);
        let ordering = Ordering::SeqCst;
        if is_statement && armed.fetch_update(ordering, ordering, fewer).is_ok() {
            back.lock().await.write_all(INTERRUPTED).await?;
        } else {
            to.write_all(&header).await?;
            to.write_all(&payload).await?;
        }
    }
}
