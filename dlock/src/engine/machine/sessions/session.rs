//! One session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::MAX_BATCH;
use crate::engine::machine::event::{
    Answers, Batch, GrantId, Inspection, Request, Ticket, Time, Traits,
};
use crate::engine::machine::keys::TENURE;
use crate::key::PhysicalKey;

#[derive(Debug)]
pub(crate) struct Session {
    state: State,
    traits: Traits,
    /// Locks that the server has granted it and that it has not begun to give back.
    held: usize,
    /// Tries and releases that threads carry out for it at the moment, if it is inline.
    running: usize,
    mailbox: Mailbox,
    in_flight: Option<InFlight>,
    /// An empty one, for its room.
    spare: Option<InFlight>,
    last_reply: Time,
    last_ping: Time,
    idle_since: Time,
    /// It has to prove that it lives before anything else.
    must_prove: bool,
    /// Its last job was an inspection: a batch goes first now.
    has_inspected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    /// It is open and has not replied yet.
    Up,
    Replied,
}

/// What a session has to do.
#[derive(Debug, Default)]
struct Mailbox {
    releases: VecDeque<(Request, Option<Ticket>)>,
    /// A try that no caller wants any more stays until it is its turn.
    tries: VecDeque<PhysicalKey>,
    /// Keys whose readers wait for a sign of life.
    probes: Vec<PhysicalKey>,
    inspections: Vec<Inspection>,
    wait: Option<WaitOrder>,
}

#[derive(Debug, Clone)]
pub(crate) struct WaitOrder {
    pub(crate) request: Request,
    pub(crate) grant: GrantId,
    /// When the slice ends that has begun.
    pub(crate) until: Option<Time>,
}

/// A statement that the session was sent.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) batch: Arc<Batch>,
    /// The tickets of callers that wait for its releases, in their order.
    pub(crate) confirms: Vec<Option<Ticket>>,
    /// Later tickets were drawn after it was sent.
    pub(crate) last_ticket: Option<Ticket>,
}

impl Session {
    pub(super) fn opening(now: Time) -> Self {
        Self {
            state: State::Opening,
            traits: Traits::default(),
            held: 0,
            running: 0,
            mailbox: Mailbox::default(),
            in_flight: None,
            spare: None,
            last_reply: now,
            last_ping: now,
            idle_since: now,
            must_prove: false,
            has_inspected: false,
        }
    }

    pub(crate) fn up(&mut self, traits: Traits, now: Time) {
        self.state = State::Up;
        self.traits = traits;
        self.last_reply = now;
        self.last_ping = now;
        self.idle_since = now;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state != State::Opening
    }

    /// Any reply is a sign of life.
    pub(super) fn has_replied(&mut self, now: Time) {
        self.state = State::Replied;
        self.last_reply = now;
    }

    /// Whether it may block on the server now.
    pub(super) fn can_wait(&self) -> bool {
        self.traits.can_wait && self.is_free()
    }

    /// Whether it has died without a reply. The first reply to a wait takes its time.
    pub(crate) fn is_stillborn(&self) -> bool {
        self.state != State::Replied && self.mailbox.wait.is_none()
    }

    pub(crate) fn tells_holders(&self) -> bool {
        self.traits.tells_holders
    }

    pub(crate) fn can_try(&self) -> bool {
        self.is_up() && self.mailbox.wait.is_none()
    }

    /// Whether it can take what it gives back, in the same round trip.
    pub(crate) fn takes_again(&self) -> bool {
        self.can_try() && !self.traits.is_inline
    }

    /// Locks that it holds or may soon hold.
    pub(crate) fn load(&self) -> usize {
        let in_flight = self.in_flight.as_ref();
        let in_flight = in_flight.map_or(0, |in_flight| in_flight.batch.tries.len());
        self.held + self.running + self.mailbox.tries.len() + in_flight
    }

    /// Holds nothing and has nothing to do.
    pub(crate) fn is_free(&self) -> bool {
        self.can_try()
            && self.load() == 0
            && self.mailbox.releases.is_empty()
            && self.mailbox.probes.is_empty()
            && self.in_flight.is_none()
    }

    /// A reply is younger than a tenure, which proves that its locks are held.
    pub(crate) fn lives(&self, now: Time) -> bool {
        now.saturating_sub(self.last_reply) <= TENURE
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn has_taken(&mut self) {
        self.held += 1;
    }

    pub(crate) fn has_lost(&mut self) {
        self.held -= 1;
    }

    /// A thread begins a try or a release for it.
    pub(crate) fn begin_run(&mut self) {
        self.running += 1;
    }

    pub(crate) fn end_run(&mut self, now: Time) {
        self.running -= 1;
        self.idle_since = now;
    }

    /// Whether it can be closed without any loss.
    pub(crate) fn is_idle(&self) -> bool {
        self.held == 0 && self.running == 0 && self.mailbox.probes.is_empty()
    }

    pub(crate) fn is_inline(&self) -> bool {
        self.traits.is_inline
    }

    pub(crate) fn must_prove(&mut self) {
        self.must_prove = true;
    }

    pub(crate) fn has_to_prove(&mut self) -> bool {
        std::mem::take(&mut self.must_prove)
    }

    // What it has to do.

    pub(crate) fn push_try(&mut self, key: PhysicalKey) {
        self.mailbox.tries.push_back(key);
    }

    /// A lock that it holds is to be given back.
    pub(crate) fn push_release(&mut self, request: Request, confirm: Option<Ticket>) {
        self.held -= 1;
        self.mailbox.releases.push_back((request, confirm));
    }

    pub(crate) fn push_probe(&mut self, key: PhysicalKey) {
        self.mailbox.probes.push(key);
    }

    pub(crate) fn push_inspections(&mut self, inspections: impl IntoIterator<Item = Inspection>) {
        self.mailbox.inspections.extend(inspections);
    }

    pub(crate) fn take_inspections(&mut self) -> Vec<Inspection> {
        std::mem::take(&mut self.mailbox.inspections)
    }

    pub(crate) fn take_probes(&mut self) -> Vec<PhysicalKey> {
        std::mem::take(&mut self.mailbox.probes)
    }

    /// Whether the answers are as many as the requests that it was sent.
    pub(crate) fn fits(&self, answers: &Answers) -> bool {
        let sent = self.in_flight.as_ref();
        sent.is_none_or(|sent| {
            let Batch { releases, tries } = &*sent.batch;
            (releases.len(), tries.len()) == (answers.releases.len(), answers.tries.len())
        })
    }

    pub(crate) fn has_probes(&self) -> bool {
        !self.mailbox.probes.is_empty()
    }

    pub(crate) fn wait(&self) -> Option<&WaitOrder> {
        self.mailbox.wait.as_ref()
    }

    pub(crate) fn order_wait(&mut self, order: WaitOrder) {
        self.mailbox.wait = Some(order);
    }

    pub(crate) fn take_wait(&mut self) -> Option<WaitOrder> {
        self.mailbox.wait.take()
    }

    /// Whether its wait should have ended by now, so that the answer is on its way. The server may
    /// have granted the lock in the meantime.
    pub(crate) fn is_overdue(&self, now: Time) -> bool {
        let until = self.wait().and_then(|order| order.until);
        until.is_some_and(|until| until <= now)
    }

    /// Its inspections, unless the last job was one and `in_turn` with batches is asked for.
    pub(crate) fn next_inspections(&mut self, in_turn: bool) -> Option<Vec<Inspection>> {
        let was_last = in_turn && std::mem::take(&mut self.has_inspected);
        if was_last || self.mailbox.inspections.is_empty() {
            return None;
        }
        self.has_inspected = true;
        Some(self.take_inspections())
    }

    // What it was sent.

    /// All releases as far as one statement has places, and all tries that are `wanted`. A try may
    /// rely on a release of the same batch, never on one of the next.
    pub(crate) fn send(
        &mut self,
        last_ticket: Ticket,
        mut wanted: impl FnMut(PhysicalKey) -> Option<Request>,
    ) -> Option<Arc<Batch>> {
        let Mailbox {
            releases, tries, ..
        } = &mut self.mailbox;
        if releases.is_empty() && tries.is_empty() {
            return None;
        }
        let mut in_flight = self.spare.take().unwrap_or_default();
        in_flight.last_ticket = Some(last_ticket);
        let batch = Arc::get_mut(&mut in_flight.batch).expect("BUG: it was emptied");
        let count = releases.len().min(MAX_BATCH);
        for (request, confirm) in releases.drain(..count) {
            batch.releases.push(request);
            in_flight.confirms.push(confirm);
        }
        while releases.is_empty()
            && batch.tries.len() < MAX_BATCH
            && let Some(key) = tries.pop_front()
        {
            batch.tries.extend(wanted(key));
        }
        if batch.is_empty() {
            self.spare = Some(in_flight);
            return None;
        }
        Some(Arc::clone(&self.in_flight.insert(in_flight).batch))
    }

    pub(crate) fn take_in_flight(&mut self, now: Time) -> Option<InFlight> {
        self.idle_since = now;
        self.in_flight.take()
    }

    pub(crate) fn keep_room(&mut self, mut in_flight: InFlight) {
        in_flight.confirms.clear();
        match Arc::get_mut(&mut in_flight.batch) {
            Some(batch) => batch.clear(),
            // The session's task still reads it.
            None => in_flight.batch = Arc::default(),
        }
        self.spare = Some(in_flight);
    }

    /// The tickets of releases that wait for a confirmation.
    pub(crate) fn into_confirms(self) -> Vec<Ticket> {
        let in_flight = self.in_flight.into_iter().flat_map(|sent| sent.confirms);
        let mailbox = self
            .mailbox
            .releases
            .into_iter()
            .map(|(_, confirm)| confirm);
        in_flight.chain(mailbox).flatten().collect()
    }

    // When it has something to do.

    pub(crate) fn pinged(&mut self, now: Time) {
        self.last_ping = now;
    }

    pub(crate) fn touch(&mut self, now: Time) {
        self.idle_since = now;
    }

    /// When it is pinged next, however busy it is.
    pub(crate) fn next_heartbeat(&self) -> Option<Time> {
        let heartbeat = self.traits.heartbeat.filter(|_| self.held > 0);
        heartbeat.map(|heartbeat| self.last_ping + heartbeat)
    }

    /// When it is pinged next while it is idle.
    pub(crate) fn next_ping(&self, silence: Duration) -> Time {
        // Only a ping looks at the locks of an inline session.
        let last = match self.traits.is_inline {
            true => self.last_ping,
            false => self.last_reply,
        };
        let silent = last.saturating_add(silence);
        self.next_heartbeat()
            .map_or(silent, |heartbeat| heartbeat.min(silent))
    }

    pub(crate) fn idle_until(&self, idle_timeout: Duration) -> Time {
        self.idle_since.saturating_add(idle_timeout)
    }

    // For `check_invariants`.

    #[cfg(test)]
    pub(crate) fn asked_tries(&self) -> impl Iterator<Item = &PhysicalKey> {
        let in_flight = self.in_flight.iter();
        let sent = in_flight.flat_map(|sent| sent.batch.tries.iter().map(|request| &request.key));
        self.mailbox.tries.iter().chain(sent)
    }

    #[cfg(test)]
    pub(crate) fn asked_releases(&self) -> impl Iterator<Item = &PhysicalKey> {
        let in_flight = self.in_flight.iter();
        let sent = in_flight.flat_map(|sent| sent.batch.releases.iter());
        let mailbox = self.mailbox.releases.iter().map(|(request, _)| request);
        mailbox.chain(sent).map(|request| &request.key)
    }

    #[cfg(test)]
    pub(crate) fn probes(&self) -> &[PhysicalKey] {
        &self.mailbox.probes
    }
}
