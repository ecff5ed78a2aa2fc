//! What threads do for inline sessions: each grant is a handle of its own.

use super::process::Handle;
use super::world::World;
use crate::engine::machine::event::{Event, Inline, SessionId};

impl World {
    /// What a thread does for an inline session.
    pub(super) fn ran(&mut self, process: usize, session: SessionId, inline: Inline) {
        self.processes[process].running -= 1;
        let event = match inline {
            Inline::Try { grant, request } => {
                let backend = self.server.connect();
                let is_taken = self.server.try_lock(backend, &request);
                match is_taken {
                    true => {
                        let key = request.key.clone();
                        let handle = Handle {
                            session,
                            key,
                            backend,
                        };
                        self.processes[process].handles.insert(grant, handle);
                    }
                    false => self.end(backend),
                }
                Event::Tried {
                    session,
                    grant,
                    request,
                    answer: is_taken.into(),
                }
            }
            Inline::Prove {
                grant,
                key,
                confirm,
            } => {
                let handle = self.processes[process].handles.get(&grant);
                let is_held = handle.is_some_and(|handle| self.server.is_alive(handle.backend));
                Event::Proved {
                    grant,
                    key,
                    confirm,
                    is_held,
                }
            }
            Inline::Release {
                grant,
                key,
                confirm,
            } => {
                let handle = self.processes[process].handles.remove(&grant);
                let backend = handle.map(|handle| handle.backend);
                let was_held = backend.is_some_and(|backend| self.server.is_alive(backend));
                if let Some(backend) = backend {
                    self.end(backend);
                }
                Event::Returned {
                    session,
                    key,
                    confirm,
                    was_held,
                }
            }
        };
        self.handle(process, event);
    }

    /// Locks of this inline session whose files were taken away.
    pub(super) fn look_at_handles(&mut self, process: usize, session: SessionId) {
        let handles = self.processes[process].handles.iter();
        let mine = handles.filter(|(_, handle)| handle.session == session);
        let gone = mine.filter(|(_, handle)| !self.server.is_alive(handle.backend));
        let gone: Vec<_> = gone
            .map(|(grant, handle)| (*grant, handle.key.clone()))
            .collect();
        for (grant, key) in gone {
            self.handle(process, Event::GrantLost { grant, key });
        }
    }
}
