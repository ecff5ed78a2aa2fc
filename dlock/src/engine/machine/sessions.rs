//! All that is known of each session: what it has to do, what it was sent, how many locks it holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::event::{Answers, Batch, GrantId, Inspection, Request, SessionId, Ticket, Time, Traits};
use super::keys::TENURE;
use crate::backend::MAX_BATCH;
use crate::key::PhysicalKey;

/// After a refused connection the sessions that exist carry on for this long before another is
/// opened.
const REFUSED: Duration = Duration::from_secs(1);

/// So many sessions in a row may die before their first reply.
const MAX_STILLBORN: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    /// None is opened before then.
    refused_until: Option<Time>,
    /// Sessions in a row that died before their first reply.
    stillborn: u32,
}

#[derive(Debug)]
pub(super) struct Session {
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
    /// A try that nobody wants any more stays until it is its turn.
    tries: VecDeque<PhysicalKey>,
    /// Keys whose readers wait for a sign of life.
    probes: Vec<PhysicalKey>,
    inspections: Vec<Inspection>,
    wait: Option<WaitOrder>,
}

#[derive(Debug, Clone)]
pub(super) struct WaitOrder {
    pub(super) request: Request,
    pub(super) grant: GrantId,
    /// When the slice ends that has begun.
    pub(super) until: Option<Time>,
}

/// A statement that the session was sent.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) batch: Arc<Batch>,
    /// Who wants to know of its releases, in their order.
    pub(super) confirms: Vec<Option<Ticket>>,
    /// Later tickets were drawn after it was sent.
    pub(super) last_ticket: Option<Ticket>,
}

impl Sessions {
    pub(super) fn open(&mut self, id: SessionId, now: Time) {
        self.by_id.insert(id, Session::opening(now));
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(super) fn is_inline(&self, id: SessionId) -> bool {
        self.get(id).is_some_and(Session::is_inline)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.by_id.remove(&id)
    }

    /// Forgets everything. Returns who waits for the confirmation of a release.
    pub(super) fn drain(&mut self) -> Vec<Ticket> {
        let sessions = std::mem::take(&mut self.by_id).into_values();
        sessions.flat_map(Session::into_confirms).collect()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.by_id.keys().copied()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(id, session)| (*id, session))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SessionId, &mut Session)> {
        self.by_id.iter_mut().map(|(id, session)| (*id, session))
    }

    /// Those that wait on the server.
    pub(super) fn waiting(&self) -> Vec<SessionId> {
        let waiting = self.iter().filter(|(_, session)| session.wait().is_some());
        waiting.map(|(id, _)| id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn opening(&self) -> usize {
        let opening = self.by_id.values().filter(|session| !session.is_up());
        opening.count()
    }

    pub(super) fn any_is_up(&self) -> bool {
        self.by_id.values().any(Session::is_up)
    }

    pub(super) fn take_inspections(&mut self) -> Vec<Inspection> {
        let sessions = self.by_id.values_mut();
        let taken = sessions.flat_map(|session| std::mem::take(&mut session.mailbox.inspections));
        taken.collect()
    }

    pub(super) fn refused_until(&self) -> Option<Time> {
        self.refused_until
    }

    pub(super) fn is_refused(&self, now: Time) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }

    pub(super) fn refuse(&mut self, now: Time) {
        self.refused_until = Some(now + REFUSED);
    }

    pub(super) fn admit(&mut self) {
        self.refused_until = None;
    }

    /// A session that is good has replied: the server is.
    pub(super) fn replied(&mut self, id: SessionId, now: Time) -> Option<&mut Session> {
        let session = self.by_id.get_mut(&id)?;
        self.stillborn = 0;
        session.state = State::Replied;
        session.last_reply = now;
        Some(session)
    }

    /// A session has died that never replied. Whether that is one too many.
    pub(super) fn note_stillborn(&mut self, now: Time) -> bool {
        self.stillborn += 1;
        self.refuse(now);
        let is_enough = self.stillborn >= MAX_STILLBORN && self.by_id.is_empty();
        if is_enough {
            self.stillborn = 0;
        }
        is_enough
    }

    pub(super) fn forgive_stillborn(&mut self) {
        self.stillborn = 0;
    }

    /// The session for the next try: the first with room that cannot wait anyhow, or else the first
    /// with room, so that the others stay free to wait.
    pub(super) fn with_room(
        &self,
        max_locks: usize,
        is_out: impl Fn(SessionId) -> bool,
    ) -> Option<SessionId> {
        let usable = self
            .iter()
            .filter(|(id, session)| session.can_try() && !is_out(*id));
        let with_room = usable.filter(|(_, session)| session.load() < max_locks);
        with_room
            .min_by_key(|(_, session)| session.is_free())
            .map(|(id, _)| id)
    }

    pub(super) fn emptiest(&self, is_out: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        let usable = self
            .iter()
            .filter(|(id, session)| session.can_try() && !is_out(*id));
        usable
            .min_by_key(|(_, session)| session.load())
            .map(|(id, _)| id)
    }

    /// A session that holds nothing and may block on the server; one is always left for tries.
    pub(super) fn to_wait_on(&self) -> Option<SessionId> {
        let able = || self.iter().filter(|(_, session)| session.can_try());
        let _left_for_tries = able().nth(1)?;
        let mut free = able().filter(|(_, session)| session.traits.can_wait && session.is_free());
        free.next_back().map(|(id, _)| id)
    }
}

impl Session {
    fn opening(now: Time) -> Self {
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

    pub(super) fn up(&mut self, traits: Traits, now: Time) {
        self.state = State::Up;
        self.traits = traits;
        self.last_reply = now;
        self.last_ping = now;
        self.idle_since = now;
    }

    pub(super) fn is_up(&self) -> bool {
        self.state != State::Opening
    }

    /// Whether it has died without a reply. The first reply to a wait takes its time.
    pub(super) fn is_stillborn(&self) -> bool {
        self.state != State::Replied && self.mailbox.wait.is_none()
    }

    pub(super) fn tells_holders(&self) -> bool {
        self.traits.tells_holders
    }

    pub(super) fn can_try(&self) -> bool {
        self.is_up() && self.mailbox.wait.is_none()
    }

    /// Whether it can take what it gives back, in the same round trip.
    pub(super) fn takes_again(&self) -> bool {
        self.can_try() && !self.traits.is_inline
    }

    /// Locks that it holds or may soon hold.
    pub(super) fn load(&self) -> usize {
        let in_flight = self.in_flight.as_ref();
        let in_flight = in_flight.map_or(0, |in_flight| in_flight.batch.tries.len());
        self.held + self.running + self.mailbox.tries.len() + in_flight
    }

    /// Holds nothing and has nothing to do.
    pub(super) fn is_free(&self) -> bool {
        self.can_try()
            && self.load() == 0
            && self.mailbox.releases.is_empty()
            && self.mailbox.probes.is_empty()
            && self.in_flight.is_none()
    }

    /// A reply is younger than a tenure, which proves that its locks are held.
    pub(super) fn lives(&self, now: Time) -> bool {
        now.saturating_sub(self.last_reply) <= TENURE
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn has_taken(&mut self) {
        self.held += 1;
    }

    pub(super) fn has_lost(&mut self) {
        self.held -= 1;
    }

    /// A thread begins a try or a release for it.
    pub(super) fn begin_run(&mut self) {
        self.running += 1;
    }

    pub(super) fn end_run(&mut self, now: Time) {
        self.running -= 1;
        self.idle_since = now;
    }

    /// Whether it can be closed without any loss.
    pub(super) fn is_idle(&self) -> bool {
        self.held == 0 && self.running == 0 && self.mailbox.probes.is_empty()
    }

    pub(super) fn is_inline(&self) -> bool {
        self.traits.is_inline
    }

    pub(super) fn must_prove(&mut self) {
        self.must_prove = true;
    }

    pub(super) fn has_to_prove(&mut self) -> bool {
        std::mem::take(&mut self.must_prove)
    }

    // What it has to do.

    pub(super) fn push_try(&mut self, key: PhysicalKey) {
        self.mailbox.tries.push_back(key);
    }

    /// A lock that it holds is to be given back.
    pub(super) fn push_release(&mut self, request: Request, confirm: Option<Ticket>) {
        self.held -= 1;
        self.mailbox.releases.push_back((request, confirm));
    }

    pub(super) fn push_probe(&mut self, key: PhysicalKey) {
        self.mailbox.probes.push(key);
    }

    pub(super) fn push_inspections(&mut self, inspections: impl IntoIterator<Item = Inspection>) {
        self.mailbox.inspections.extend(inspections);
    }

    pub(super) fn take_inspections(&mut self) -> Vec<Inspection> {
        std::mem::take(&mut self.mailbox.inspections)
    }

    pub(super) fn take_probes(&mut self) -> Vec<PhysicalKey> {
        std::mem::take(&mut self.mailbox.probes)
    }

    /// Whether the answers are as many as the requests that it was sent.
    pub(super) fn fits(&self, answers: &Answers) -> bool {
        let sent = self.in_flight.as_ref();
        sent.is_none_or(|sent| {
            let Batch { releases, tries } = &*sent.batch;
            (releases.len(), tries.len()) == (answers.releases.len(), answers.tries.len())
        })
    }

    pub(super) fn has_probes(&self) -> bool {
        !self.mailbox.probes.is_empty()
    }

    pub(super) fn wait(&self) -> Option<&WaitOrder> {
        self.mailbox.wait.as_ref()
    }

    pub(super) fn order_wait(&mut self, order: WaitOrder) {
        self.mailbox.wait = Some(order);
    }

    pub(super) fn take_wait(&mut self) -> Option<WaitOrder> {
        self.mailbox.wait.take()
    }

    /// Whether its wait should have ended by now, so that the answer is on its way. The server may
    /// have granted the lock in the meantime.
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        let until = self.wait().and_then(|order| order.until);
        until.is_some_and(|until| until <= now)
    }

    /// Its inspections, unless the last job was one and `in_turn` with batches is asked for.
    pub(super) fn next_inspections(&mut self, in_turn: bool) -> Option<Vec<Inspection>> {
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
    pub(super) fn send(
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

    pub(super) fn take_in_flight(&mut self, now: Time) -> Option<InFlight> {
        self.idle_since = now;
        self.in_flight.take()
    }

    pub(super) fn keep_room(&mut self, mut in_flight: InFlight) {
        in_flight.confirms.clear();
        match Arc::get_mut(&mut in_flight.batch) {
            Some(batch) => batch.clear(),
            // The session's task still reads it.
            None => in_flight.batch = Arc::default(),
        }
        self.spare = Some(in_flight);
    }

    /// Everyone who waits for the confirmation of a release.
    pub(super) fn into_confirms(self) -> Vec<Ticket> {
        let in_flight = self.in_flight.into_iter().flat_map(|sent| sent.confirms);
        let mailbox = self
            .mailbox
            .releases
            .into_iter()
            .map(|(_, confirm)| confirm);
        in_flight.chain(mailbox).flatten().collect()
    }

    // When it has something to do.

    pub(super) fn pinged(&mut self, now: Time) {
        self.last_ping = now;
    }

    pub(super) fn touch(&mut self, now: Time) {
        self.idle_since = now;
    }

    /// When it is pinged next, however busy it is.
    pub(super) fn next_heartbeat(&self) -> Option<Time> {
        let heartbeat = self.traits.heartbeat.filter(|_| self.held > 0);
        heartbeat.map(|heartbeat| self.last_ping + heartbeat)
    }

    /// When it is pinged next while it is idle.
    pub(super) fn next_ping(&self, silence: Duration) -> Time {
        // Only a ping looks at the locks of an inline session.
        let last = match self.traits.is_inline {
            true => self.last_ping,
            false => self.last_reply,
        };
        let silent = last.saturating_add(silence);
        self.next_heartbeat()
            .map_or(silent, |heartbeat| heartbeat.min(silent))
    }

    pub(super) fn idle_until(&self, idle_timeout: Duration) -> Time {
        self.idle_since.saturating_add(idle_timeout)
    }

    // For `check_invariants`.

    pub(super) fn asked_tries(&self) -> impl Iterator<Item = &PhysicalKey> {
        let in_flight = self.in_flight.iter();
        let sent = in_flight.flat_map(|sent| sent.batch.tries.iter().map(|request| &request.key));
        self.mailbox.tries.iter().chain(sent)
    }

    pub(super) fn asked_releases(&self) -> impl Iterator<Item = &PhysicalKey> {
        let in_flight = self.in_flight.iter();
        let sent = in_flight.flat_map(|sent| sent.batch.releases.iter());
        let mailbox = self.mailbox.releases.iter().map(|(request, _)| request);
        mailbox.chain(sent).map(|request| &request.key)
    }

    pub(super) fn probes(&self) -> &[PhysicalKey] {
        &self.mailbox.probes
    }
}
