//! One client with a session on both servers.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use super::packet::{
    CLOSE, EXECUTE, INIT_DB, PREPARE, Packet, QUERY, QUIT, RESET, RESET_CONNECTION, too_short,
};
use super::session::{Session, Sink};
use super::{Choice, SessionStatements};
use crate::transport::{Address, Counts, Transport};

/// A statement that the client has prepared.
struct Prepared {
    command: Packet,
    /// Its number on each server where it is prepared by now.
    numbers: [Option<u32>; 2],
}

pub(super) struct Client {
    transport: Transport,
    sessions: [Session; 2],
    counts: Arc<Counts>,
    choice: Choice,
    session_statements: SessionStatements,
    /// The session that ran the last command.
    last: usize,
    /// By the numbers that the client knows.
    prepared: HashMap<u32, Prepared>,
    next_number: u32,
}

impl Client {
    /// `None` when the first server refuses it.
    pub(super) async fn log_in(
        mut transport: Transport,
        servers: &[Address; 2],
        counts: &Arc<Counts>,
    ) -> io::Result<Option<Self>> {
        let (mut first, greeting) = Session::connect(&servers[0], counts).await?;
        transport.write(&greeting.encoded()).await?;
        let introduction = Packet::receive(&mut transport).await?;
        let (mut second, _greeting) = Session::connect(&servers[1], counts).await?;
        second.log_in_as(&introduction).await?;
        if !first.log_in(&introduction, &mut transport).await? {
            return Ok(None);
        }
        Ok(Some(Self {
            transport,
            sessions: [first, second],
            counts: Arc::clone(counts),
            choice: Choice::InTurn,
            session_statements: SessionStatements::ToOne,
            last: 0,
            prepared: HashMap::new(),
            next_number: 1,
        }))
    }

    /// The session number `first` is the next one.
    pub(super) fn routed(
        self,
        choice: Choice,
        session_statements: SessionStatements,
        first: usize,
    ) -> Self {
        Self {
            choice,
            session_statements,
            last: 1 - first,
            ..self
        }
    }

    /// Until one side closes.
    pub(super) async fn serve(mut self) -> io::Result<()> {
        loop {
            let command = self.next_command().await?;
            let kind = command.first()?;
            if matches!(kind, QUERY | EXECUTE) {
                self.counts.count_statement();
            }
            match kind {
                QUIT => return Ok(()),
                QUERY => {
                    self.choose(&command.payload[1..]);
                    let is_for_both = self.is_for_both(&command.payload[1..]);
                    self.run(&command, is_for_both).await?;
                }
                INIT_DB | RESET_CONNECTION => {
                    self.choose(b"");
                    self.run(&command, true).await?;
                    if kind == RESET_CONNECTION {
                        self.prepared.clear();
                    }
                }
                PREPARE => self.prepare(command).await?,
                EXECUTE | RESET => self.execute(command).await?,
                CLOSE => self.close(&command).await?,
                _ => {
                    self.choose(b"");
                    self.run(&command, false).await?;
                }
            }
        }
    }

    async fn next_command(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(command) = Packet::take(&mut self.transport.arrived) {
                return Ok(command);
            }
            let [first, second] = &mut self.sessions;
            let unasked = poll_fn(|context| {
                for session in [&mut *first, &mut *second] {
                    if let Poll::Ready(filled) = session.transport.poll_fill(context) {
                        return Poll::Ready(filled);
                    }
                }
                Poll::Pending
            });
            tokio::select! {
                biased;
                filled = self.transport.fill() => filled?,
                // A server says nothing unasked except that the session ends.
                filled = unasked => {
                    filled?;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
    }

    /// Sets `last` to the session for a statement.
    fn choose(&mut self, text: &[u8]) {
        self.last = match self.choice {
            Choice::InTurn if self.sessions[self.last].is_in_transaction() => self.last,
            Choice::InTurn => 1 - self.last,
            Choice::ByText if self.sessions[0].is_in_transaction() => 0,
            Choice::ByText => usize::from(begins_with(text, b"select")),
        };
    }

    fn is_for_both(&self, text: &[u8]) -> bool {
        self.session_statements == SessionStatements::ToBoth
            && (begins_with(text, b"set ") || begins_with(text, b"use "))
    }

    async fn run(&mut self, command: &Packet, is_for_both: bool) -> io::Result<()> {
        let mut sink = Sink::to(&mut self.transport);
        self.sessions[self.last].run(command, &mut sink).await?;
        if is_for_both {
            let other = &mut self.sessions[1 - self.last];
            other.run(command, &mut sink.quiet()).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, command: Packet) -> io::Result<()> {
        self.choose(&command.payload[1..]);
        let number = self.next_number;
        self.next_number += 1;
        let mut sink = Sink::to(&mut self.transport);
        let session = &mut self.sessions[self.last];
        match session.prepare(&command, number, &mut sink).await? {
            Ok(here) => {
                let mut numbers = [None; 2];
                numbers[self.last] = Some(here);
                self.prepared.insert(number, Prepared { command, numbers });
                Ok(())
            }
            Err(answer) => sink.pass(&answer).await,
        }
    }

    async fn execute(&mut self, command: Packet) -> io::Result<()> {
        let number = statement_number(&command)?;
        let prepared = self.prepared.get(&number).ok_or_else(unknown)?;
        let text = prepared.command.payload[1..].to_vec();
        self.choose(&text);
        let is_for_both = self.is_for_both(&text);
        let prepared = self.prepared.get_mut(&number).ok_or_else(unknown)?;
        let mut sink = Sink::to(&mut self.transport);
        let (last, sessions) = (self.last, &mut self.sessions);
        prepared
            .execute(last, sessions, &command, &mut sink)
            .await?;
        if is_for_both {
            let mut sink = sink.quiet();
            prepared
                .execute(1 - last, sessions, &command, &mut sink)
                .await?;
        }
        Ok(())
    }

    async fn close(&mut self, command: &Packet) -> io::Result<()> {
        let number = statement_number(command)?;
        let prepared = self.prepared.remove(&number).ok_or_else(unknown)?;
        for (session, number) in self.sessions.iter_mut().zip(prepared.numbers) {
            if let Some(number) = number {
                let command = with_number(command, number);
                session
                    .run(&command, &mut Sink::to(&mut self.transport))
                    .await?;
            }
        }
        Ok(())
    }
}

impl Prepared {
    /// Prepares it first where it is not.
    async fn execute(
        &mut self,
        on: usize,
        sessions: &mut [Session; 2],
        command: &Packet,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        let number = match self.numbers[on] {
            Some(number) => number,
            None => match sessions[on]
                .prepare(&self.command, 0, &mut sink.quiet())
                .await?
            {
                Ok(number) => number,
                Err(answer) => return sink.pass(&answer).await,
            },
        };
        self.numbers[on] = Some(number);
        sessions[on].run(&with_number(command, number), sink).await
    }
}

/// Of a command that is about a statement.
fn statement_number(command: &Packet) -> io::Result<u32> {
    let number = command.payload[1..].first_chunk().ok_or_else(too_short)?;
    Ok(u32::from_le_bytes(*number))
}

fn with_number(command: &Packet, number: u32) -> Packet {
    let mut command = command.clone();
    command.payload[1..5].copy_from_slice(&number.to_le_bytes());
    command
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no such statement is prepared")
}

/// A comment is not skipped.
fn begins_with(text: &[u8], word: &[u8]) -> bool {
    let start = text.trim_ascii_start().get(..word.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(word))
}
