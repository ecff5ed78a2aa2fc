//! One connection, from the handshake to its end.

use std::{io, sync::Arc};

use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot};
use tokio_rustls::rustls::ServerConfig;

use crate::{
    Answer, Close, Cut, Encryption, Reply, Request, Session, Sessions,
    encryption::Scope,
    wire::{
        self, EncryptionOption, Flow, Incoming, Login7, Message, PACKET_SIZE, PreLogin, Socket,
        Stream, Tokens, kind, malformed, packets,
    },
};

/// What the connections of a server have in common.
#[derive(Debug)]
pub(crate) struct Shared<A> {
    pub(crate) handler: A,
    pub(crate) sessions: Sessions,
    pub(crate) encryption: Encryption,
    pub(crate) tls: Arc<ServerConfig>,
}

/// Serves a client until the end.
pub(crate) async fn serve<A: Answer>(tcp: TcpStream, shared: Arc<Shared<A>>) {
    if let Err(error) = try_serve(tcp, shared).await
        && error.kind() == io::ErrorKind::InvalidData
    {
        eprintln!("dlock-tds: {error}");
    }
}

async fn try_serve<A: Answer>(tcp: TcpStream, shared: Arc<Shared<A>>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut handshake = Handshake {
        incoming: Incoming::default(),
    };
    let Some((stream, login)) = handshake
        .run(Stream::Plain(Socket::new(tcp)), &shared)
        .await?
    else {
        return Ok(());
    };
    let encrypted = stream.is_encrypted();
    let (session, cut) = shared.sessions.enter(login.login.clone(), encrypted);
    let mut stay = Stay {
        shared: shared.clone(),
        session: session.clone(),
        is_freed: false,
    };
    let mut connection = Connection {
        shared,
        session,
        stream,
        incoming: handshake.incoming,
        packet_size: PACKET_SIZE,
        cut,
    };
    let end = connection.talk(&login).await;
    stay.free();
    connection.close(end).await
}

/// The time from login to the end. Dropping it tells the handler and the list, in that order.
struct Stay<A: Answer> {
    shared: Arc<Shared<A>>,
    session: Arc<Session>,
    is_freed: bool,
}

impl<A: Answer> Stay<A> {
    fn free(&mut self) {
        if !std::mem::replace(&mut self.is_freed, true) {
            self.shared.handler.ended(self.session.id);
        }
    }
}

impl<A: Answer> Drop for Stay<A> {
    fn drop(&mut self) {
        self.free();
        self.shared.sessions.leave(self.session.id);
    }
}

struct Handshake {
    incoming: Incoming,
}

impl Handshake {
    async fn run<A>(
        &mut self,
        mut stream: Stream,
        shared: &Shared<A>,
    ) -> io::Result<Option<(Stream, Login7)>> {
        let Some(hello) = self.expect(kind::PRELOGIN, &mut stream).await? else {
            return Ok(None);
        };
        let (answer, scope) = shared
            .encryption
            .negotiate(PreLogin::read(&hello)?.encryption);
        stream.write_all(&prelogin_answer(answer)).await?;
        if scope != Scope::Nothing {
            stream = stream.encrypt(shared.tls.clone()).await?;
        }
        let Some(login) = self.expect(kind::LOGIN, &mut stream).await? else {
            return Ok(None);
        };
        if scope == Scope::Login {
            stream = stream.decrypt();
        }
        Ok(Some((stream, Login7::read(&login)?)))
    }

    /// The bytes after each of these are read differently, so none of them may have come along.
    async fn expect(&mut self, kind: u8, stream: &mut Stream) -> io::Result<Option<Vec<u8>>> {
        match self.incoming.next(stream).await? {
            None => Ok(None),
            Some(message) if message.kind == kind && self.incoming.is_empty() => {
                Ok(Some(message.payload))
            }
            Some(message) => Err(malformed(format!(
                "a message of kind {} in the place of {kind}, or more after it",
                message.kind
            ))),
        }
    }
}

fn prelogin_answer(encryption: EncryptionOption) -> Vec<u8> {
    packets(kind::ANSWER, 0, &PreLogin::answer(encryption), PACKET_SIZE)
}

/// Why there is nothing more to say.
enum End {
    /// The client closed the connection.
    Client,
    Cut(Cut),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Cut(close.into())
    }
}

/// What ends the work on a request.
enum Outcome {
    Reply(Reply),
    Withdrawn,
    End(End),
}

struct Connection<A> {
    shared: Arc<Shared<A>>,
    session: Arc<Session>,
    stream: Stream,
    incoming: Incoming,
    packet_size: usize,
    cut: oneshot::Receiver<Cut>,
}

impl<A: Answer> Connection<A> {
    async fn talk(&mut self, login: &Login7) -> io::Result<End> {
        self.send(&Tokens::logged_in(login)).await?;
        self.packet_size = login.packet_size;
        loop {
            let message = tokio::select! {
                cut = &mut self.cut => return Ok(was_cut(cut)),
                message = self.incoming.next(&mut self.stream) => message?,
            };
            let Some(message) = message else {
                return Ok(End::Client);
            };
            if let Some(end) = self.take(message).await? {
                return Ok(end);
            }
        }
    }

    async fn take(&mut self, message: Message) -> io::Result<Option<End>> {
        match message.kind {
            kind::BATCH => {
                self.answer(wire::batch(&message.payload)?, Flow::Batch)
                    .await
            }
            kind::CALL => {
                self.answer(wire::procedure_call(&message.payload)?, Flow::Call)
                    .await
            }
            kind::ATTENTION => self.send(&Tokens::withdrawn()).await.map(|()| None),
            other => Err(malformed(format!("a message of kind {other}"))),
        }
    }

    async fn answer(&mut self, request: Request, flow: Flow) -> io::Result<Option<End>> {
        match self.outcome(request).await? {
            Outcome::Reply(reply) => self.reply(reply, flow).await,
            Outcome::Withdrawn => self.send(&Tokens::withdrawn()).await.map(|()| None),
            Outcome::End(end) => Ok(Some(end)),
        }
    }

    /// The work on the request is dropped when this returns.
    async fn outcome(&mut self, request: Request) -> io::Result<Outcome> {
        tokio::select! {
            biased;
            cut = &mut self.cut => Ok(Outcome::End(was_cut(cut))),
            message = self.incoming.next(&mut self.stream) => match message? {
                None => Ok(Outcome::End(End::Client)),
                Some(message) if message.kind == kind::ATTENTION => Ok(Outcome::Withdrawn),
                Some(message) => Err(malformed(format!("a message of kind {} before the last was answered", message.kind))),
            },
            reply = self.shared.handler.answer(&self.session, request) => Ok(Outcome::Reply(reply)),
        }
    }

    async fn reply(&mut self, reply: Reply, flow: Flow) -> io::Result<Option<End>> {
        match reply {
            Reply::Parts(parts) => self
                .send(&Tokens::answer(&parts, flow))
                .await
                .map(|()| None),
            Reply::ThenCut(parts, close) => self
                .send(&Tokens::answer(&parts, flow))
                .await
                .map(|()| Some(close.into())),
            Reply::HalfThenCut(parts, close) => self
                .send_half(&Tokens::answer(&parts, flow))
                .await
                .map(|()| Some(close.into())),
            Reply::Cut(close) => Ok(Some(close.into())),
            Reply::Never => self.stay_silent().await,
        }
    }

    async fn stay_silent(&mut self) -> io::Result<Option<End>> {
        tokio::select! {
            cut = &mut self.cut => Ok(Some(was_cut(cut))),
            message = self.incoming.next(&mut self.stream) => match message? {
                None => Ok(Some(End::Client)),
                Some(message) if message.kind == kind::ATTENTION => self.send(&Tokens::withdrawn()).await.map(|()| None),
                Some(message) => Err(malformed(format!("a message of kind {} before the last was answered", message.kind))),
            },
        }
    }

    async fn send(&mut self, tokens: &[u8]) -> io::Result<()> {
        self.write(&packets(
            kind::ANSWER,
            self.session.id.0,
            tokens,
            self.packet_size,
        ))
        .await
    }

    async fn send_half(&mut self, tokens: &[u8]) -> io::Result<()> {
        let bytes = packets(kind::ANSWER, self.session.id.0, tokens, self.packet_size);
        self.write(&bytes[..bytes.len() / 2]).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn close(mut self, end: io::Result<End>) -> io::Result<()> {
        let (close, result) = match end {
            Ok(End::Client) => (Close::Fin, Ok(())),
            Ok(End::Cut(cut)) => {
                if let Some(error) = cut.error {
                    // A client that is gone does not hear it.
                    let _ = self.send(&Tokens::fatal(&error)).await;
                }
                (cut.close, Ok(()))
            }
            Err(error) => (Close::Fin, Err(error)),
        };
        self.stream.close(close).await;
        result
    }
}

fn was_cut(cut: Result<Cut, oneshot::error::RecvError>) -> End {
    End::Cut(cut.expect("BUG: the list has the sender until the session leaves it"))
}
