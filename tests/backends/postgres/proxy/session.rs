//! A session of the proxy's own on a server.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use futures_util::FutureExt;

use super::message::{
    AUTHENTICATION, ERROR_RESPONSE, IDLE, Message, PARSE, PARSE_COMPLETE, QUERY, READY_FOR_QUERY,
    SYNC,
};
use super::startup::Startup;
use crate::transport::{Address, CountedSession, Counts, Transport};

/// Why a client is not served any longer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The proxy reports this error to its client.
    Refused(Message),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A prepared statement of a client.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Unique in this process.
    pub(super) id: u64,
    pub(super) is_named: bool,
    /// The text with its NUL and the types of the parameters, as in a Parse.
    pub(super) definition: Vec<u8>,
}

impl Prepared {
    /// On every server.
    pub(super) fn name(&self) -> Vec<u8> {
        if self.is_named {
            format!("proxied_{}\0", self.id).into_bytes()
        } else {
            b"\0".to_vec()
        }
    }

    pub(super) fn parse(&self) -> Message {
        Message::new(PARSE, [self.name(), self.definition.clone()].concat())
    }
}

/// Messages of a client up to a Sync or a Query, with the names of statements as on the servers.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    /// The statement that decides where it goes.
    pub(super) text: Option<Vec<u8>>,
    /// Statements that it needs and does not prepare itself.
    pub(super) needed: Vec<Arc<Prepared>>,
    /// Those that it prepares.
    pub(super) parsed: Vec<Arc<Prepared>>,
    /// Those that it closes.
    pub(super) closed: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) transport: Transport,
    /// Everything that the server said up to its first ReadyForQuery.
    pub(super) greeting: Vec<Message>,
    status: u8,
    named: HashSet<u64>,
    unnamed: Option<u64>,
    _counted: CountedSession,
}

impl Session {
    pub(super) async fn open(
        server: &Address,
        startup: &Startup,
        counts: &Arc<Counts>,
    ) -> Result<Self, Failure> {
        let mut transport = Transport::connect(server).await?;
        let counted = CountedSession::new(counts);
        transport.write(&startup.encoded()).await?;
        let mut greeting = Vec::new();
        loop {
            let message = Message::receive(&mut transport).await?;
            let is_last = message.kind == READY_FOR_QUERY;
            match message.kind {
                ERROR_RESPONSE => return Err(Failure::Refused(message)),
                AUTHENTICATION if message.body != [0; 4] => {
                    let wanted = "the server asks for a password; this mode needs `trust`";
                    return Err(Failure::Refused(Message::fatal("28000", wanted)));
                }
                _ => greeting.push(message),
            }
            if is_last {
                break;
            }
        }
        Ok(Self {
            transport,
            greeting,
            status: IDLE,
            named: HashSet::new(),
            unnamed: None,
            _counted: counted,
        })
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.status != IDLE
    }

    /// Whether the server has said something unasked, or has closed.
    pub(super) fn has_spoken(&mut self) -> bool {
        self.transport.fill().now_or_never().is_some()
    }

    /// Runs a statement of the proxy's own; its answers are dropped.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        self.unnamed = None;
        let query = Message::query(sql);
        self.transport.write(&query.encoded()).await?;
        match self.outcome().await? {
            None => Ok(()),
            Some(error) => Err(Failure::Refused(error)),
        }
    }

    /// Up to ReadyForQuery; the error, if there was one.
    async fn outcome(&mut self) -> io::Result<Option<Message>> {
        let mut failed = None;
        loop {
            let message = Message::receive(&mut self.transport).await?;
            match message.kind {
                ERROR_RESPONSE => failed = Some(message),
                READY_FOR_QUERY => {
                    self.status = message.body[0];
                    return Ok(failed);
                }
                _ => {}
            }
        }
    }

    /// Runs a batch and passes all answers on. After an error the session is of no use.
    pub(super) async fn relay(&mut self, batch: Batch, client: &mut Transport) -> io::Result<()> {
        for statement in &batch.needed {
            if let Some(error) = self.prepare(statement).await? {
                // As the answer to the whole batch.
                let ready = Message::new(READY_FOR_QUERY, [self.status]);
                let answer = [error.encoded(), ready.encoded()].concat();
                return client.write(&answer).await;
            }
        }
        let mut bytes = Vec::new();
        for message in &batch.messages {
            message.encode(&mut bytes);
            if message.kind == QUERY {
                self.unnamed = None;
            }
        }
        for id in &batch.closed {
            self.named.remove(id);
        }
        self.transport.write(&bytes).await?;
        self.answers(batch, client).await
    }

    async fn answers(&mut self, batch: Batch, client: &mut Transport) -> io::Result<()> {
        let mut parsed = batch.parsed.iter();
        loop {
            let mut answers = Vec::new();
            let mut is_ready = false;
            while let Some(message) = Message::take(&mut self.transport.arrived) {
                message.encode(&mut answers);
                match message.kind {
                    PARSE_COMPLETE => {
                        if let Some(statement) = parsed.next() {
                            self.note_prepared(statement);
                        }
                    }
                    READY_FOR_QUERY => {
                        self.status = message.body[0];
                        is_ready = true;
                    }
                    _ => {}
                }
            }
            client.write(&answers).await?;
            if is_ready {
                return Ok(());
            }
            tokio::select! {
                biased;
                filled = self.transport.fill() => filled?,
                // It may be ahead with its next batch.
                filled = client.fill() => filled?,
            }
        }
    }

    /// Unless it is prepared; the server's error.
    async fn prepare(&mut self, statement: &Prepared) -> io::Result<Option<Message>> {
        let is_prepared = if statement.is_named {
            self.named.contains(&statement.id)
        } else {
            self.unnamed == Some(statement.id)
        };
        if is_prepared {
            return Ok(None);
        }
        let mut bytes = statement.parse().encoded();
        Message::new(SYNC, []).encode(&mut bytes);
        self.transport.write(&bytes).await?;
        let failed = self.outcome().await?;
        if failed.is_none() {
            self.note_prepared(statement);
        }
        Ok(failed)
    }

    fn note_prepared(&mut self, statement: &Prepared) {
        if statement.is_named {
            self.named.insert(statement.id);
        } else {
            self.unnamed = Some(statement.id);
        }
    }
}
