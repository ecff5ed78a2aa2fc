//! What the proxies of all protocols share: a listener, buffered connections and counters.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Host and port.
pub(crate) type Address = (String, u16);

/// Accepts connections on a free port until it is dropped; all connections end with it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) port: u16,
    _accepting: JoinSet<()>,
}

impl Listener {
    pub(crate) async fn start<F>(
        mut serve: impl FnMut(Transport) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while open.try_join_next().is_some() {}
                if let Ok(client) = Transport::new(client) {
                    open.spawn(serve(client));
                }
            }
        });
        Ok(Self {
            port,
            _accepting: accepting,
        })
    }
}

/// A TCP connection with what has arrived and is not read yet.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: TcpStream,
    pub(crate) arrived: Vec<u8>,
}

impl Transport {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            arrived: Vec::new(),
        })
    }

    pub(crate) async fn connect(to: &Address) -> io::Result<Self> {
        Self::new(TcpStream::connect((&*to.0, to.1)).await?)
    }

    /// Appends to `arrived`; the end of the stream is an error. Loses nothing when it is cancelled.
    pub(crate) async fn fill(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 8192];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.arrived.extend(read.filled());
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}

/// What has passed, and what is open.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    statements: AtomicUsize,
    sessions: AtomicUsize,
}

impl Counts {
    pub(crate) fn count_statement(&self) {
        self.statements.fetch_add(1, Ordering::SeqCst);
    }

    /// Statements that clients have sent.
    pub(crate) fn statements(&self) -> usize {
        self.statements.load(Ordering::SeqCst)
    }

    /// Open sessions on servers.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }
}

/// Counts one session of a server as open until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedSession(Arc<Counts>);

impl CountedSession {
    pub(crate) fn new(counts: &Arc<Counts>) -> Self {
        counts.sessions.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for CountedSession {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}
