//! Locks that are held and are to become stronger, where the server can convert them: who wants that, and what is done for it. See `state`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::core::Core;
use super::jobs::next_slice;
use super::queue::{Hold, HoldId, Refusal, SessionId};
use super::sessions::SessionEntry;
use super::state::State;
use super::warned;
use crate::backend::{Answer, Request};
use crate::error::{Error, LossCause, Phase};
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;
use crate::wait::Wait;

/// A lock that is to become stronger.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// No other has it: a hold may go from one guard to the next while the server is asked.
    number: u64,
    request: Request,
    wait: Wait,
    /// How often the server has said no.
    attempt: u32,
    /// When it is asked next.
    due: Instant,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

/// What the server was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpgradeInFlight {
    number: u64,
    /// Until when the server waits, if it does.
    until: Option<Instant>,
}

impl UpgradeInFlight {
    /// Nothing else can be asked of this session meanwhile.
    pub(crate) fn waits(self) -> bool {
        self.until.is_some()
    }
}

/// Where the answer comes; the sender is gone when the lock is.
type Reply = oneshot::Receiver<Result<(), Refusal>>;

impl Upgrade {
    pub(crate) fn is_of(&self, key: &PhysicalKey) -> bool {
        self.request.key == *key
    }
}

impl SessionEntry {
    /// When the server is to be asked for the next upgrade.
    pub(crate) fn next_upgrade(&self) -> Option<Instant> {
        self.upgrades.iter().map(|upgrade| upgrade.due).min()
    }
}

impl State {
    /// A guard wants more.
    fn upgrade(
        &mut self,
        key: &PhysicalKey,
        hold: HoldId,
        to: Mode,
        wait: Wait,
        now: Instant,
    ) -> Reply {
        let (reply, answer) = oneshot::channel();
        let Some(hold) = self.hold_mut(key, |held| held.id == hold) else {
            return answer;
        };
        if hold.mode == to {
            // One that was given up has been granted nevertheless.
            drop(reply.send(Ok(())));
            return answer;
        }
        hold.upgrade_to = Some(to);
        let session = hold.session;
        let number = self.next_id();
        if let Some(session) = self.sessions.get_mut(&session) {
            session.upgrades.push(Upgrade {
                number,
                request: Request {
                    key: key.clone(),
                    mode: to,
                },
                wait,
                attempt: 0,
                due: now,
                reply,
            });
            session.inbox.notify_one();
        }
        answer
    }

    /// A guard wants no more than it has. What is on its way may be granted nevertheless.
    fn give_up_upgrade(&mut self, key: &PhysicalKey, hold: HoldId, now: Instant) {
        let Some(hold) = self.hold_mut(key, |held| held.id == hold) else {
            return;
        };
        hold.upgrade_to = None;
        let session = hold.session;
        if let Some(session) = self.sessions.get_mut(&session) {
            session.upgrades.retain(|upgrade| !upgrade.is_of(key));
        }
        self.settle(key, now);
    }

    /// What this session asks for now, and how long the server is to wait for it: not at all where this session is needed for anything else, or no other could be.
    pub(crate) fn due_upgrade(
        &mut self,
        id: SessionId,
        now: Instant,
    ) -> Option<(Request, Duration)> {
        let mut others = self.sessions.iter().filter(|(other, _)| **other != id);
        let others_can = others.any(|(_, other)| other.can_try()) || self.more_may_come(now);
        let is_spared = self.unassigned.is_empty() && others_can;
        let session = self.sessions.get_mut(&id)?;
        let next = session.upgrades.iter().min_by_key(|upgrade| upgrade.due)?;
        if now < next.due {
            return None;
        }
        let left = next.wait.deadline;
        let left = left.map(|deadline| deadline.saturating_duration_since(now));
        let holds_nothing_else = session.held.len() == 1
            && session.tries.is_empty()
            && session.releases.is_empty()
            && session.inspections.is_empty();
        let may_wait = session.can_wait && is_spared && holds_nothing_else && !next.wait.one_try;
        let slice = match may_wait {
            true => next_slice(next.attempt, left).unwrap_or_default(),
            false => Duration::ZERO,
        };
        session.upgrade_in_flight = Some(UpgradeInFlight {
            number: next.number,
            until: (!slice.is_zero()).then(|| now + slice),
        });
        Some((next.request.clone(), slice))
    }

    /// The server has answered to an upgrade.
    pub(crate) fn upgraded(
        &mut self,
        id: SessionId,
        request: &Request,
        answer: Answer,
        now: Instant,
    ) {
        let Some(session) = self.replied(id, now) else {
            return;
        };
        let Some(UpgradeInFlight { number, until }) = session.upgrade_in_flight.take() else {
            return;
        };
        let mut upgrades = session.upgrades.iter();
        let wanted = upgrades.position(|upgrade| upgrade.number == number);
        let wanted = wanted.map(|index| session.upgrades.swap_remove(index));
        let verdict = match answer {
            Answer::Yes => Ok(()),
            Answer::No => Err(Refusal::Busy),
            Answer::Deadlock => Err(Refusal::Deadlock),
            Answer::Failed(error) => Err(Refusal::Failed(Phase::Acquire.failed(error))),
        };
        match (wanted, verdict) {
            (Some(again), Err(Refusal::Busy)) if !again.wait.one_try => {
                let has_waited = until.is_some_and(|until| until <= now);
                let due = match has_waited {
                    // Out of the server's line only for as long as it takes to stand in it again.
                    true => now,
                    false => now + Self::backoff(again.attempt),
                };
                session.upgrades.push(Upgrade {
                    due,
                    attempt: again.attempt + 1,
                    ..again
                });
            }
            (wanted, verdict) => {
                if verdict.is_ok() {
                    self.strengthen(id, request);
                }
                if wanted.is_some()
                    && let Some(hold) = self.hold_mut(&request.key, |held| held.session == id)
                {
                    hold.upgrade_to = None;
                }
                // Whoever asked may be gone.
                wanted.map(|upgrade| upgrade.reply.send(verdict));
                self.settle(&request.key, now);
            }
        }
        self.assign(now);
        self.put_to_wait(now);
    }

    /// This is how the server has it now, also where it is about to be given back.
    fn strengthen(&mut self, id: SessionId, to: &Request) {
        if let Some(hold) = self.hold_mut(&to.key, |held| held.session == id) {
            hold.mode = to.mode;
        }
        let session = self.sessions.get_mut(&id).expect("BUG: it answered");
        let releases = session.releases.iter_mut().map(|(request, _)| request);
        for release in releases.filter(|release| release.key == to.key) {
            release.mode = to.mode;
        }
    }

    fn hold_mut(&mut self, key: &PhysicalKey, is_it: impl Fn(&Hold) -> bool) -> Option<&mut Hold> {
        let holds = &mut self.keys.get_mut(key)?.holds;
        holds.iter_mut().find(|hold| is_it(hold))
    }
}

/// A guard that waits for more. Dropping it is giving up.
pub(super) struct Upgrading<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) key: &'a PhysicalKey,
    pub(super) hold: HoldId,
}

impl Upgrading<'_> {
    /// Until the lock is held like this.
    pub(super) async fn finish(self, name: &Key, to: Mode, wait: Wait) -> Result<(), Error> {
        let Self { core, key, hold } = &self;
        let answer = core.with(|state, now| state.upgrade(key, *hold, to, wait, now));
        let answer = pin!(wait.bound(answer));
        let granted = match warned(answer, name, wait, || None).await {
            Ok(Ok(Ok(()))) => Some(()),
            Ok(Ok(Err(refusal))) => refusal.tell(name)?,
            Ok(Err(_session_gone)) => return Err(Error::lost(name, LossCause::Session)),
            Err(_elapsed) => None,
        };
        granted.ok_or_else(|| {
            core.with(|state, _| state.counters.timeouts += 1);
            Error::Timeout {
                key: name.clone(),
                waited: wait.since.elapsed(),
                held_by: None,
            }
        })
    }
}

impl Drop for Upgrading<'_> {
    fn drop(&mut self) {
        let Self { core, key, hold } = self;
        core.with(|state, now| state.give_up_upgrade(key, *hold, now));
    }
}
