//! A client's session on one of the servers: what is sent there, and where an answer ends.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html>

use std::io;
use std::sync::Arc;

use super::packet::{
    AUTH_SWITCH, CLOSE, DEPRECATE_EOF, ERROR, EXECUTE, IN_TRANSACTION, LOCAL_INFILE, MORE_RESULTS,
    OK, PREPARE, Packet, QUERY, too_short,
};
use crate::transport::{Address, CountedSession, Counts, Transport};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) transport: Transport,
    deprecates_eof: bool,
    status: u16,
    _counted: CountedSession,
}

/// Where answers go: to the client, or nowhere.
pub(super) struct Sink<'a> {
    client: &'a mut Transport,
    is_open: bool,
    bytes: Vec<u8>,
}

impl<'a> Sink<'a> {
    pub(super) fn to(client: &'a mut Transport) -> Self {
        Self {
            client,
            is_open: true,
            bytes: Vec::new(),
        }
    }

    /// The same client, which sees nothing of an answer.
    pub(super) fn quiet(&mut self) -> Sink<'_> {
        Sink {
            is_open: false,
            ..Sink::to(self.client)
        }
    }

    /// One packet that is the whole answer.
    pub(super) async fn pass(&mut self, packet: &Packet) -> io::Result<()> {
        self.push(packet);
        self.flush().await
    }

    fn push(&mut self, packet: &Packet) {
        if self.is_open {
            packet.encode(&mut self.bytes);
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.client.write(&std::mem::take(&mut self.bytes)).await
    }
}

/// The login.
impl Session {
    /// With the greeting of the server.
    pub(super) async fn connect(
        server: &Address,
        counts: &Arc<Counts>,
    ) -> io::Result<(Self, Packet)> {
        let mut transport = Transport::connect(server).await?;
        let counted = CountedSession::new(counts);
        let greeting = Packet::receive(&mut transport).await?;
        let session = Self {
            transport,
            deprecates_eof: false,
            status: 0,
            _counted: counted,
        };
        Ok((session, greeting))
    }

    /// The client logs in itself; `false` when the server refuses it.
    pub(super) async fn log_in(
        &mut self,
        introduction: &Packet,
        client: &mut Transport,
    ) -> io::Result<bool> {
        self.introduce(introduction).await?;
        loop {
            let answer = Packet::receive(&mut self.transport).await?;
            client.write(&answer.encoded()).await?;
            match answer.first()? {
                OK => return Ok(true),
                ERROR => return Ok(false),
                _ => {
                    let packet = Packet::receive(client).await?;
                    self.transport.write(&packet.encoded()).await?;
                }
            }
        }
    }

    /// Another session for a client that has logged in elsewhere. An empty answer is right for any
    /// way to authenticate without a password.
    pub(super) async fn log_in_as(&mut self, introduction: &Packet) -> io::Result<()> {
        self.introduce(introduction).await?;
        loop {
            let answer = Packet::receive(&mut self.transport).await?;
            match answer.first()? {
                OK => return Ok(()),
                AUTH_SWITCH => {
                    let empty = Packet {
                        number: answer.number + 1,
                        payload: Vec::new(),
                    };
                    self.transport.write(&empty.encoded()).await?;
                }
                _ => return Err(io::Error::other("the second server refuses the account")),
            }
        }
    }

    async fn introduce(&mut self, introduction: &Packet) -> io::Result<()> {
        let capabilities = introduction.payload.first_chunk().ok_or_else(too_short)?;
        self.deprecates_eof = u32::from_le_bytes(*capabilities) & DEPRECATE_EOF != 0;
        self.transport.write(&introduction.encoded()).await
    }
}

/// Commands.
impl Session {
    pub(super) fn is_in_transaction(&self) -> bool {
        self.status & IN_TRANSACTION != 0
    }

    /// Sends a command and passes the whole answer on.
    pub(super) async fn run(&mut self, command: &Packet, sink: &mut Sink<'_>) -> io::Result<()> {
        self.transport.write(&command.encoded()).await?;
        match command.first()? {
            CLOSE => {}
            PREPARE => return Err(io::Error::other("BUG: a PREPARE has to be noted")),
            QUERY | EXECUTE => self.pass_results(sink).await?,
            _ => {
                let answer = self.pass(sink).await?;
                self.note_status(&answer)?;
            }
        }
        sink.flush().await
    }

    /// Prepares a statement, which the client sees under this number. Returns the number here, or
    /// the error of the server, which is not passed on.
    pub(super) async fn prepare(
        &mut self,
        command: &Packet,
        number: u32,
        sink: &mut Sink<'_>,
    ) -> io::Result<Result<u32, Packet>> {
        self.transport.write(&command.encoded()).await?;
        let mut answer = self.receive(sink).await?;
        if answer.first()? == ERROR {
            return Ok(Err(answer));
        }
        let [_, a, b, c, d, columns, more, parameters, even_more, ..] = &mut *answer.payload else {
            return Err(too_short());
        };
        let here = u32::from_le_bytes([*a, *b, *c, *d]);
        [*a, *b, *c, *d] = number.to_le_bytes();
        let columns = u16::from_le_bytes([*columns, *more]);
        let parameters = u16::from_le_bytes([*parameters, *even_more]);
        sink.push(&answer);
        for definitions in [parameters, columns] {
            self.pass_definitions(definitions.into(), sink).await?;
        }
        sink.flush().await?;
        Ok(Ok(here))
    }

    async fn pass_results(&mut self, sink: &mut Sink<'_>) -> io::Result<()> {
        loop {
            let first = self.pass(sink).await?;
            match first.first()? {
                ERROR => return Ok(()),
                OK => self.note_status(&first)?,
                LOCAL_INFILE => return Err(io::Error::other("there are no files here")),
                _ => {
                    self.pass_definitions(first.columns()?, sink).await?;
                    if self.pass_rows(sink).await?.first()? == ERROR {
                        return Ok(());
                    }
                }
            }
            if self.status & MORE_RESULTS == 0 {
                return Ok(());
            }
        }
    }

    /// Of parameters or columns.
    async fn pass_definitions(&mut self, count: u64, sink: &mut Sink<'_>) -> io::Result<()> {
        for _ in 0..count {
            self.pass(sink).await?;
        }
        if count > 0 && !self.deprecates_eof {
            self.pass(sink).await?;
        }
        Ok(())
    }

    /// Returns the packet that ends them.
    async fn pass_rows(&mut self, sink: &mut Sink<'_>) -> io::Result<Packet> {
        loop {
            let packet = self.pass(sink).await?;
            if packet.is_end_of_rows() {
                self.status = if self.deprecates_eof {
                    packet.status_of_ok()?
                } else {
                    packet.status_of_eof()?
                };
                return Ok(packet);
            }
            if packet.payload.first() == Some(&ERROR) {
                return Ok(packet);
            }
        }
    }

    fn note_status(&mut self, answer: &Packet) -> io::Result<()> {
        if answer.first()? == OK {
            self.status = answer.status_of_ok()?;
        }
        Ok(())
    }

    async fn pass(&mut self, sink: &mut Sink<'_>) -> io::Result<Packet> {
        let packet = self.receive(sink).await?;
        sink.push(&packet);
        Ok(packet)
    }

    async fn receive(&mut self, sink: &mut Sink<'_>) -> io::Result<Packet> {
        loop {
            if let Some(packet) = Packet::take(&mut self.transport.arrived) {
                return Ok(packet);
            }
            sink.flush().await?;
            tokio::select! {
                biased;
                filled = self.transport.fill() => filled?,
                // It may be ahead with its next command.
                filled = sink.client.fill() => filled?,
            }
        }
    }
}
