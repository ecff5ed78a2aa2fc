//! The socket of a session, which can be watched while tiberius has the stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What tiberius has.
pub(super) struct Socket(Arc<TcpStream>);

/// What the session has.
pub(super) struct Watch(Arc<TcpStream>);

pub(super) fn watched(stream: TcpStream) -> (Socket, Watch) {
    let stream = Arc::new(stream);
    (Socket(Arc::clone(&stream)), Watch(stream))
}

impl Watch {
    /// To an idle session a server says nothing, except that it ends. Resolves with how it ended.
    /// Cancel safe.
    pub(super) async fn until_anything_comes(&self) -> String {
        match self.0.peek(&mut [0]).await {
            Ok(0) => "the server closed the connection".to_owned(),
            Ok(_) => "the server ended the session".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|read| buffer.advance(read))),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// What is written is on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// It is closed when it is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
