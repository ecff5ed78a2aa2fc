//! The tasks of a pool, and the runtime on which they live.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tokio::runtime::Handle;

use super::effects::{Effect, Effects, Start, Task};
use super::grant::SessionCell;
use super::run::Run;
use super::session_signals::SessionSignals;
use crate::backend::InlineSession;
use crate::engine::machine::SessionId;
use crate::error::{Error, LossCause};

/// The tasks of one pool.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Where tasks are started; the runtime of the first request if none was chosen.
    runtime: Option<Handle>,
    has_keeper: bool,
    /// Counts the runtimes that the pool has outlived.
    epoch: u64,
    sessions: HashMap<SessionId, Session, RandomState>,
    /// Tasks that own a session, or open one.
    count: usize,
}

/// A session whose task runs.
#[derive(Debug)]
struct Session {
    signals: Arc<SessionSignals>,
    /// Known once it is open.
    cell: Option<Arc<SessionCell>>,
    inline: Option<Arc<dyn InlineSession>>,
    /// What threads have left to its task.
    deferred: Vec<Run>,
}

impl Tasks {
    pub(super) fn new(runtime: Option<Handle>) -> Self {
        Self {
            runtime,
            ..Self::default()
        }
    }

    /// Starts the task of this session. An error means that there is no runtime.
    pub(super) fn open(&mut self, id: SessionId, effects: &mut Effects) -> Result<(), Error> {
        let runtime = self.runtime()?;
        let signals = Arc::<SessionSignals>::default();
        let session = Session {
            signals: Arc::clone(&signals),
            cell: None,
            inline: None,
            deferred: Vec::new(),
        };
        self.sessions.insert(id, session);
        self.count += 1;
        self.start_keeper(&runtime, effects);
        let epoch = self.epoch;
        effects.push(Effect::Start(Box::new(Start {
            runtime,
            epoch,
            what: Task::Session(id, signals),
        })));
        Ok(())
    }

    /// A task begins that owns a session which the machine does not know.
    pub(super) fn begin_own(&mut self, effects: &mut Effects) -> Result<(Handle, u64), Error> {
        let runtime = self.runtime()?;
        self.count += 1;
        self.start_keeper(&runtime, effects);
        Ok((runtime, self.epoch))
    }

    fn runtime(&mut self) -> Result<Handle, Error> {
        match &self.runtime {
            Some(runtime) => Ok(runtime.clone()),
            None => {
                let current = Handle::try_current().map_err(|_| Error::NoRuntime)?;
                Ok(self.runtime.insert(current).clone())
            }
        }
    }

    fn start_keeper(&mut self, runtime: &Handle, effects: &mut Effects) {
        if !mem::replace(&mut self.has_keeper, true) {
            effects.push(Effect::Start(Box::new(Start {
                runtime: runtime.clone(),
                epoch: self.epoch,
                what: Task::Keeper,
            })));
        }
    }

    /// The session is open.
    pub(super) fn opened(
        &mut self,
        id: SessionId,
        cell: Arc<SessionCell>,
        inline: Option<Arc<dyn InlineSession>>,
    ) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.cell = Some(cell);
            session.inline = inline;
        }
    }

    pub(super) fn cell(&self, id: SessionId) -> Option<&Arc<SessionCell>> {
        self.sessions.get(&id)?.cell.as_ref()
    }

    pub(super) fn inline(&self, id: SessionId) -> Option<&Arc<dyn InlineSession>> {
        self.sessions.get(&id)?.inline.as_ref()
    }

    pub(super) fn wake(&self, id: SessionId, effects: &mut Effects) {
        if let Some(session) = self.sessions.get(&id) {
            effects.push(Effect::Wake(Arc::clone(&session.signals)));
        }
    }

    pub(super) fn stop_wait(&self, id: SessionId, effects: &mut Effects) {
        if let Some(session) = self.sessions.get(&id) {
            session.signals.stop_wait();
            effects.push(Effect::Wake(Arc::clone(&session.signals)));
            if let Some(inline) = &session.inline {
                effects.push(Effect::Leave(Arc::clone(inline)));
            }
        }
    }

    /// The machine has forgotten the session. Its task ends it.
    pub(super) fn close(&mut self, id: SessionId, effects: &mut Effects) {
        if let Some(session) = self.sessions.remove(&id) {
            session.signals.close();
            effects.push(Effect::Wake(session.signals));
        }
    }

    pub(super) fn has(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    pub(super) fn forget(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }

    pub(super) fn defer(&mut self, run: Run, effects: &mut Effects) {
        // Of a session that has ended in between, the machine expects nothing.
        if let Some(session) = self.sessions.get_mut(&run.id) {
            session.deferred.push(run);
            effects.push(Effect::Wake(Arc::clone(&session.signals)));
        }
    }

    pub(super) fn take_deferred(&mut self, id: SessionId) -> Vec<Run> {
        let session = self.sessions.get_mut(&id);
        session.map_or_else(Vec::new, |session| mem::take(&mut session.deferred))
    }

    /// All guards learn of this loss.
    pub(super) fn lose_all(&self, cause: LossCause, effects: &mut Effects) {
        for cell in self
            .sessions
            .values()
            .filter_map(|session| session.cell.as_ref())
        {
            effects.lose(cell.loss(), cause);
        }
    }

    /// Closes everything.
    pub(super) fn close_all(&mut self, effects: &mut Effects) {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close(id, effects));
    }

    /// The keeper has panicked: the next session that is opened brings another one.
    pub(super) fn keeper_ended(&mut self) {
        self.has_keeper = false;
    }

    pub(super) fn is_over(&self) -> bool {
        self.count == 0
    }

    pub(super) fn ended(&mut self, epoch: u64) {
        if self.epoch == epoch {
            self.count -= 1;
        }
    }

    /// Whether the runtime of this epoch is the one that the tasks live on.
    pub(super) fn is_epoch(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }

    /// The runtime has ended, and all tasks with it.
    pub(super) fn end_epoch(&mut self) {
        *self = Self {
            epoch: self.epoch + 1,
            ..Self::default()
        };
    }
}
