//! A socket that for the time of the TLS handshake has what it carries in PRELOGIN packets.
//!
//! In TDS 7 the handshake comes after PRELOGIN and in its packets; from its end on TLS is on the bare socket and has the
//! TDS packets in it. <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/a45bcd26-13ed-4e1d-9e76-33f46ff4a1d2>

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::{
    malformed,
    packet::{PACKET_SIZE, kind, packets},
};
use crate::Close;

const HEADER: usize = 8;

/// The socket of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    wrapping: Option<Wrapping>,
}

/// What is under way while packets are put around what is read and written.
#[derive(Debug, Default)]
struct Wrapping {
    header: Vec<u8>,
    /// Bytes of the packet that have not been read yet.
    left: usize,
    written: Vec<u8>,
    packed: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            wrapping: None,
        }
    }

    /// From here on all is in PRELOGIN packets.
    pub(crate) fn wrap(&mut self) {
        self.wrapping = Some(Wrapping::default());
    }

    /// And from here on nothing is.
    pub(crate) fn unwrap(&mut self) {
        self.wrapping = None;
    }

    pub(crate) async fn close(mut self, how: Close) {
        // It fails when the client was faster, and then there is nothing to close.
        let _ = match how {
            Close::Fin => self.tcp.shutdown().await,
            Close::Rst => self.tcp.set_zero_linger(),
        };
    }
}

impl Wrapping {
    fn read(
        &mut self,
        tcp: &mut TcpStream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left == 0 {
            if ready!(read_some(
                tcp,
                context,
                HEADER - self.header.len(),
                |bytes| self.header.extend_from_slice(bytes)
            ))? == 0
            {
                return Poll::Ready(Ok(()));
            }
            if self.header.len() == HEADER {
                self.left = length_of_prelogin(&self.header)?;
                self.header.clear();
            }
        }
        let wanted = self.left.min(buffer.remaining());
        self.left -= ready!(read_some(tcp, context, wanted, |bytes| buffer.put_slice(bytes)))?;
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, tcp: &mut TcpStream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.written.is_empty() {
            self.packed.extend(packets(
                kind::PRELOGIN,
                0,
                &std::mem::take(&mut self.written),
                PACKET_SIZE,
            ));
        }
        while !self.packed.is_empty() {
            let count = ready!(Pin::new(&mut *tcp).poll_write(context, &self.packed))?;
            self.packed.drain(..count);
        }
        Pin::new(tcp).poll_flush(context)
    }
}

/// At most that many bytes and no more than one read gives; 0 at the end.
fn read_some(
    tcp: &mut TcpStream,
    context: &mut Context<'_>,
    most: usize,
    mut take: impl FnMut(&[u8]),
) -> Poll<io::Result<usize>> {
    let mut space = [0; PACKET_SIZE];
    let mut buffer = ReadBuf::new(&mut space[..most.min(PACKET_SIZE)]);
    ready!(Pin::new(tcp).poll_read(context, &mut buffer))?;
    take(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

fn length_of_prelogin(header: &[u8]) -> io::Result<usize> {
    if header[0] != kind::PRELOGIN {
        return Err(malformed(format!(
            "a packet of kind {} within the TLS handshake",
            header[0]
        )));
    }
    usize::from(u16::from_be_bytes([header[2], header[3]]))
        .checked_sub(HEADER)
        .ok_or_else(|| malformed("a packet shorter than its header"))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { tcp, wrapping } = &mut *self;
        match wrapping {
            Some(wrapping) => wrapping.read(tcp, context, buffer),
            None => Pin::new(tcp).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { tcp, wrapping } = &mut *self;
        match wrapping {
            Some(wrapping) => {
                wrapping.written.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            None => Pin::new(tcp).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, wrapping } = &mut *self;
        match wrapping {
            Some(wrapping) => wrapping.flush(tcp, context),
            None => Pin::new(tcp).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
