//! A client that has one session of one server for itself.

use std::sync::Arc;

use super::message::{DATA_ROW, EXECUTE, Message, QUERY};
use super::session::Failure;
use super::startup::Startup;
use crate::transport::{Address, CountedSession, Counts, Transport};

#[derive(Debug, Clone, Copy)]
pub(super) enum Relay {
    Unchanged,
    RefuseOptions {
        code: &'static str,
        message: &'static str,
    },
    Answer {
        from: &'static str,
        to: &'static str,
    },
}

impl Relay {
    /// Until one side closes.
    pub(super) async fn serve(
        self,
        client: &mut Transport,
        startup: Startup,
        server: &Address,
        counts: &Arc<Counts>,
    ) -> Result<(), Failure> {
        if let Self::RefuseOptions { code, message } = self
            && startup.options().is_some()
        {
            return Err(Failure::Refused(Message::fatal(code, message)));
        }
        let mut server = Transport::connect(server).await?;
        let _counted = CountedSession::new(counts);
        server.write(&startup.encoded()).await?;
        loop {
            tokio::select! {
                filled = client.fill() => {
                    filled?;
                    let messages = pass(client, |message| {
                        if matches!(message.kind, QUERY | EXECUTE) {
                            counts.count_statement();
                        }
                    });
                    server.write(&messages).await?;
                }
                filled = server.fill() => {
                    filled?;
                    let messages = pass(&mut server, |message| self.change(message));
                    client.write(&messages).await?;
                }
            }
        }
    }

    fn change(self, message: &mut Message) {
        let (DATA_ROW, Self::Answer { from, to }) = (message.kind, self) else {
            return;
        };
        let mut rest = &mut *message.body;
        while rest.len() >= from.len() {
            if rest.starts_with(from.as_bytes()) {
                rest[..from.len()].copy_from_slice(to.as_bytes());
            }
            rest = &mut rest[1..];
        }
    }
}

/// All whole messages that have arrived.
fn pass(from: &mut Transport, mut see: impl FnMut(&mut Message)) -> Vec<u8> {
    let mut messages = Vec::new();
    while let Some(mut message) = Message::take(&mut from.arrived) {
        see(&mut message);
        message.encode(&mut messages);
    }
    messages
}
