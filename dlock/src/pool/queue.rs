//! One key: who waits for it in this process, what the server granted, what is being asked. Data and small questions; the decisions are in `state`.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::retries::Turn;
use crate::error::{Error, HeldBy, LossCause};
use crate::key::Key;
use crate::mode::Mode;
use crate::server_lock::Holder;
use crate::wait::Wait;

pub(crate) type SessionId = u64;
pub(crate) type HoldId = u64;
pub(crate) type TicketId = u64;

/// For this long after a grant a lock may go from one local holder to the next: a fraction of what people notice, and many times what the server takes for its part.
pub(crate) const TURN: Duration = Duration::from_millis(20);

/// After a wait of up to this long a turn is not cut.
const FULL_TURN_AFTER: Duration = Duration::from_millis(100);

/// For this long after a grant readers may join those who are in, and for this long an answer proves that its session lives.
pub(crate) const TENURE: Duration = Duration::from_millis(100);

/// An unused queue keeps room for so many.
const FEW_WAITERS: usize = 8;

/// After so many slices of a wait, which are some 1.3 s, the server is asked who holds the lock.
const LOOK_AFTER: u32 = 2;

/// So long after that it is asked again, in time for the next warning.
const LOOK_AGAIN: Duration = Duration::from_secs(8);

/// A holder that was seen so long ago is not reported any more.
const BLOCKER_IS_OLD: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct KeyQueue {
    /// The key as the first of its requesters called it.
    pub(crate) name: Option<Key>,
    /// First in, first out.
    pub(crate) waiters: VecDeque<Waiter>,
    /// How many of them take no for an answer.
    pub(crate) one_tries: usize,
    /// What the server granted to this pool: one exclusive, or any number that coexist, on different sessions.
    pub(crate) holds: Vec<Hold>,
    /// Sessions that are giving this key back.
    pub(crate) releasing: Vec<SessionId>,
    pub(crate) ask: Option<Ask>,
    /// Retries since the last grant.
    pub(crate) attempt: u32,
    /// When the server refused it first since then.
    contended_since: Option<Instant>,
    /// Slices of waits that have ended since then.
    pub(crate) slices: u32,
    /// Since when it is contended, or since its last wait.
    pub(crate) turn: Option<Turn>,
    /// The last answer of the server about who holds it, and when it came.
    blocker: Option<(Option<Holder>, Instant)>,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) id: TicketId,
    pub(crate) mode: Mode,
    pub(crate) wait: Wait,
    /// When the next warning of a long wait is due; `None` if the caller logs its own.
    pub(crate) next_warning: Option<Instant>,
    pub(crate) reply: oneshot::Sender<Result<Granted, Refusal>>,
}

/// What a waiter gets. Whoever receives it must give it back.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) hold: HoldId,
    pub(crate) link: Arc<Link>,
}

#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    Busy,
    /// The server ended the wait, because it closed a circle.
    Deadlock,
    Failed(Error),
}

impl Refusal {
    /// What whoever asked for this lock hears; `None`: it is busy.
    pub(crate) fn tell<T>(self, name: &Key) -> Result<Option<T>, Error> {
        match self {
            Self::Busy => Ok(None),
            Self::Deadlock => Err(Error::Deadlock { key: name.clone() }),
            Self::Failed(error) => Err(error),
        }
    }
}

/// What the guards know of their session.
#[derive(Debug)]
pub(crate) struct Link {
    /// The server's number for it; set when the session is open.
    number: OnceLock<i64>,
    lost: watch::Receiver<Loss>,
}

/// Whether the locks of a session are lost, and how. The sender lives as long as the session is
/// good; a dropped sender means [`LossCause::Session`].
pub(crate) type Loss = Option<LossCause>;

impl Link {
    /// The sender is the session's.
    pub(crate) fn new() -> (watch::Sender<Loss>, Arc<Self>) {
        let (sender, lost) = watch::channel(None);
        let number = OnceLock::new();
        (sender, Arc::new(Self { number, lost }))
    }

    /// Of a session that is open.
    pub(crate) fn open(number: i64) -> (watch::Sender<Loss>, Arc<Self>) {
        let (sender, link) = Self::new();
        link.opened(number);
        (sender, link)
    }

    pub(crate) fn opened(&self, number: i64) {
        self.number.get_or_init(|| number);
    }

    pub(crate) fn number(&self) -> i64 {
        self.number.get().copied().unwrap_or_default()
    }

    /// Of a session that is lost.
    pub(crate) fn loss_cause(&self) -> LossCause {
        self.lost.borrow().unwrap_or(LossCause::Session)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.borrow().is_some() || self.lost.has_changed().is_err()
    }

    pub(crate) async fn lost(&self) {
        // An error means that the sender is gone, which is the same news.
        drop(self.lost.clone().wait_for(Option::is_some).await);
    }
}

/// One grant of the server.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) session: SessionId,
    pub(crate) mode: Mode,
    pub(crate) guards: usize,
    /// By the server.
    pub(crate) granted_at: Instant,
    /// When the first current guard received it.
    pub(crate) guarded_since: Instant,
    pub(crate) handoffs: u32,
    /// For so long it may go from one local holder to the next.
    pub(crate) turn: Duration,
    /// What its guard wants it to become.
    pub(crate) upgrade_to: Option<Mode>,
}

impl Hold {
    /// From the moment on at which its guard wants more nobody comes in whom that would keep waiting.
    fn mode_to_come(&self) -> Mode {
        self.upgrade_to.unwrap_or(self.mode)
    }
}

/// The one question about a key that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A try: queued for a session, on its way, or (`None`) waiting for a session.
    Try(Option<SessionId>),
    /// A session waits on the server.
    Wait(SessionId),
    /// Nothing until then.
    Backoff(Instant),
    /// Is the session that holds it still there?
    Probe(SessionId),
}

impl KeyQueue {
    pub(crate) fn is_unused(&self) -> bool {
        self.waiters.is_empty()
            && self.holds.is_empty()
            && self.releasing.is_empty()
            && self.ask.is_none()
    }

    /// Makes an unused one as good as new.
    pub(crate) fn reset(&mut self) {
        self.name = None;
        self.waiters.shrink_to(FEW_WAITERS);
    }

    /// As far as the server is concerned nobody has waited yet.
    pub(crate) fn calm(&mut self) {
        self.attempt = 0;
        self.contended_since = None;
        self.slices = 0;
        self.turn = None;
        self.blocker = None;
    }

    /// The server has refused it.
    pub(crate) fn contend(&mut self, now: Instant) {
        self.attempt += 1;
        self.contended_since.get_or_insert(now);
    }

    /// For how long a grant of now may go from one local holder to the next. The longer this process
    /// has waited, the more others wait, and the shorter is its turn: so the wait grows with the
    /// square root of their number.
    pub(crate) fn turn(&self, now: Instant) -> Duration {
        let since = self.contended_since.unwrap_or(now);
        let waited = now.duration_since(since).max(FULL_TURN_AFTER);
        TURN.mul_f64(FULL_TURN_AFTER.as_secs_f64() / waited.as_secs_f64())
    }

    /// Whether the server is to be asked who holds it: a wait has lasted for a while, and the last
    /// answer is old.
    pub(crate) fn is_to_look_for_blocker(&self, now: Instant) -> bool {
        let is_old = |at| now.duration_since(at) >= LOOK_AGAIN;
        let last = self.blocker.as_ref().map(|(_, at)| *at);
        self.slices >= LOOK_AFTER && last.is_none_or(is_old)
    }

    pub(crate) fn set_blocker(&mut self, holder: Option<Holder>, now: Instant) {
        self.blocker = Some((holder, now));
    }

    /// The holder that keeps a request of this mode waiting, as far as it is known here.
    pub(crate) fn held_by(&self, mode: Mode, now: Instant) -> Option<HeldBy> {
        let holds = self.holds.iter();
        let in_the_way = holds.filter(|hold| hold.guards > 0 && !hold.mode.coexists_with(mode));
        if let Some(since) = in_the_way.map(|hold| hold.guarded_since).min() {
            let held_for = now.duration_since(since);
            return Some(HeldBy::ThisProcess { held_for });
        }
        let (holder, at) = self.blocker.as_ref()?;
        let is_recent = now.duration_since(*at) < BLOCKER_IS_OLD;
        let holder = holder.clone().filter(|_| is_recent)?;
        Some(HeldBy::Session(holder))
    }

    /// Whether a lock of this mode has to wait for a local holder.
    pub(crate) fn is_held_against(&self, mode: Mode) -> bool {
        let mut holds = self.holds.iter();
        holds.any(|hold| !hold.mode_to_come().coexists_with(mode))
    }

    /// The mode that the server is to be asked for, if it is to be asked at all.
    pub(crate) fn wanted(&self) -> Option<Mode> {
        let mode = self.front_mode()?;
        (!self.is_held_against(mode)).then_some(mode)
    }

    /// How many waiters a grant of the front's mode serves: one, or, where it can be shared, all up to the next of another mode.
    pub(crate) fn served_by_next_grant(&self) -> usize {
        match self.front_mode() {
            None => 0,
            Some(mode) if mode.is_shareable() => {
                let alike = self.waiters.iter();
                alike.take_while(|waiter| waiter.mode == mode).count()
            }
            Some(_) => 1,
        }
    }

    /// Whether the next in line may have this hold from the last local holder, without the server.
    pub(crate) fn is_in_turn(&self, index: usize, max_handoffs: u32, now: Instant) -> bool {
        let hold = &self.holds[index];
        self.front_mode() == Some(hold.mode)
            && !hold.mode.is_shareable()
            && hold.handoffs < max_handoffs
            && now.duration_since(hold.granted_at) < hold.turn
    }

    /// Gives a hold to those at the front whose mode it has: one, or all of them where it can be shared. Returns how many took it.
    pub(crate) fn serve_front(&mut self, index: usize, link: &Arc<Link>, now: Instant) -> u64 {
        let Hold {
            id, mode, guards, ..
        } = self.holds[index];
        if guards == 0 {
            self.holds[index].guarded_since = now;
        }
        let mut served = 0;
        while self.front_mode() == Some(mode)
            && (self.holds[index].guards == 0 || mode.is_shareable())
            && let Some(waiter) = self.pop_front()
        {
            let granted = Granted {
                hold: id,
                link: Arc::clone(link),
            };
            // A receiver that is gone has not taken anything.
            if waiter.reply.send(Ok(granted)).is_ok() {
                self.holds[index].guards += 1;
                served += 1;
            }
        }
        served
    }

    pub(crate) fn front_mode(&self) -> Option<Mode> {
        self.waiters.front().map(|waiter| waiter.mode)
    }

    pub(crate) fn pop_front(&mut self) -> Option<Waiter> {
        let waiter = self.waiters.pop_front()?;
        self.one_tries -= usize::from(waiter.wait.one_try);
        Some(waiter)
    }

    /// Takes a waiter out that does not wait any more.
    pub(crate) fn remove(&mut self, id: TicketId) {
        if let Ok(index) = self.waiters.binary_search_by_key(&id, |waiter| waiter.id)
            && let Some(waiter) = self.waiters.remove(index)
        {
            self.one_tries -= usize::from(waiter.wait.one_try);
        }
    }

    /// How many waiters the next answers of the server may serve: those of the next grant, or one try after the other.
    pub(crate) fn served_by_next_tries(&self) -> usize {
        let one_tries = self.waiters.iter().take_while(|waiter| waiter.wait.one_try);
        one_tries.count().max(self.served_by_next_grant())
    }

    /// Says no to everybody in this part of the queue who takes no for an answer.
    pub(crate) fn refuse_one_tries(&mut self, part: Range<usize>) {
        let end = part.end.min(self.waiters.len());
        self.refuse(part.start..end, |_| true);
    }

    /// Says no to those who take it and had asked when the server was asked for this mode, which somebody else holds against them.
    pub(crate) fn refuse_answered(&mut self, mode: Mode, last: TicketId) {
        let end = self.waiters.partition_point(|waiter| waiter.id <= last);
        self.refuse(0..end, |waiter| waiter.mode.is_kept_out_with(mode));
    }

    fn refuse(&mut self, part: Range<usize>, is_answered: impl Fn(&Waiter) -> bool) {
        if self.one_tries == 0 || part.is_empty() {
            return;
        }
        let behind = self.waiters.split_off(part.end);
        let asked = self.waiters.split_off(part.start);
        for waiter in asked {
            if waiter.wait.one_try && is_answered(&waiter) {
                self.one_tries -= 1;
                // A receiver that is gone needs no answer.
                drop(waiter.reply.send(Err(Refusal::Busy)));
            } else {
                self.waiters.push_back(waiter);
            }
        }
        self.waiters.extend(behind);
    }

    /// When the last of those gives up whom the next grant serves; `None` when one of them never does.
    pub(crate) fn last_deadline(&self) -> Option<Instant> {
        let served = self.waiters.iter().take(self.served_by_next_grant());
        let deadlines = served.map(|waiter| waiter.wait.deadline);
        deadlines.reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    /// Guards on all its holds.
    pub(crate) fn guards(&self) -> u64 {
        self.holds.iter().map(|hold| hold.guards as u64).sum()
    }
}
