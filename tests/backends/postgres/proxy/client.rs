//! One client, batch by batch.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::message::{
    BACKEND_KEY_DATA, BIND, CLOSE, DESCRIBE, EXECUTE, Message, PARSE, QUERY, STATEMENT, SYNC,
    TERMINATE, split_text,
};
use super::routes::Routes;
use super::session::{Batch, Failure, Prepared};
use crate::transport::{Counts, Transport};

pub(super) struct Client<'a> {
    transport: &'a mut Transport,
    routes: Routes,
    counts: &'a Counts,
    /// By their names here.
    statements: HashMap<Vec<u8>, Arc<Prepared>>,
}

impl<'a> Client<'a> {
    pub(super) fn new(transport: &'a mut Transport, routes: Routes, counts: &'a Counts) -> Self {
        Self {
            transport,
            routes,
            counts,
            statements: HashMap::new(),
        }
    }

    /// Until one side closes.
    pub(super) async fn serve(mut self) -> Result<(), Failure> {
        let mut greeting = Vec::new();
        for message in self.routes.greeting().await? {
            // The number of one session says nothing here.
            if message.kind != BACKEND_KEY_DATA {
                message.encode(&mut greeting);
            }
        }
        self.transport.write(&greeting).await?;
        while let Some(batch) = self.next_batch().await? {
            self.routes.run(batch, self.transport).await?;
        }
        Ok(())
    }

    /// `None` when the client says that it goes.
    async fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let mut batch = Batch::default();
        loop {
            while let Some(message) = Message::take(&mut self.transport.arrived) {
                let kind = message.kind;
                if kind == TERMINATE {
                    return Ok(None);
                }
                if matches!(kind, QUERY | EXECUTE) {
                    self.counts.count_statement();
                }
                self.add(message, &mut batch)?;
                if matches!(kind, QUERY | SYNC) {
                    return Ok(Some(batch));
                }
            }
            tokio::select! {
                biased;
                filled = self.transport.fill() => filled?,
                unasked = self.routes.unasked() => self.transport.write(&unasked?).await?,
            }
        }
    }

    /// With the names of statements as on the servers.
    fn add(&mut self, mut message: Message, batch: &mut Batch) -> io::Result<()> {
        match message.kind {
            QUERY => batch.add_text(split_text(&message.body)?.0),
            PARSE => {
                let (name, definition) = split_text(&message.body)?;
                let statement = Arc::new(Prepared::new(name, definition));
                batch.add_text(split_text(definition)?.0);
                self.statements
                    .insert(name.to_vec(), Arc::clone(&statement));
                message = statement.parse();
                batch.parsed.push(statement);
            }
            BIND => {
                let (portal, rest) = split_text(&message.body)?;
                let (name, rest) = split_text(rest)?;
                if let Some(statement) = self.statements.get(name) {
                    batch.need(statement);
                    message.body = [portal, b"\0", &*statement.name(), rest].concat();
                }
            }
            DESCRIBE if message.body.first() == Some(&STATEMENT) => {
                let (name, _) = split_text(&message.body[1..])?;
                if let Some(statement) = self.statements.get(name) {
                    batch.need(statement);
                    message.body = [&[STATEMENT], &*statement.name()].concat();
                }
            }
            CLOSE if message.body.first() == Some(&STATEMENT) => {
                let (name, _) = split_text(&message.body[1..])?;
                if let Some(statement) = self.statements.remove(name) {
                    batch.closed.push(statement.id);
                    message.body = [&[STATEMENT], &*statement.name()].concat();
                }
            }
            _ => {}
        }
        batch.messages.push(message);
        Ok(())
    }
}

impl Prepared {
    fn new(name: &[u8], definition: &[u8]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            is_named: !name.is_empty(),
            definition: definition.to_vec(),
        }
    }
}

impl Batch {
    fn add_text(&mut self, text: &[u8]) {
        self.text.get_or_insert_with(|| text.to_vec());
    }

    fn need(&mut self, statement: &Arc<Prepared>) {
        let text = statement.definition.split(|byte| *byte == 0).next();
        self.add_text(text.unwrap_or_default());
        if !self.parsed.iter().any(|parsed| parsed.id == statement.id) {
            self.needed.push(Arc::clone(statement));
        }
    }
}
