//! What the pool knows of one session: its inbox, what is on its way, what it holds. Data and small questions; the decisions are in `state`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashSet, HashSetExt as _};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::queue::{Link, Loss, TENURE, TicketId};
use super::upgrades::{Upgrade, UpgradeInFlight};
use crate::backend::{Batch, InlineSession, Request, SessionError};
use crate::error::{Error, Phase};
use crate::key::{Key, PhysicalKey};
use crate::server_lock::ServerLock;

/// Where the result of a release goes, if anybody waits for it. `false`: lost.
pub(crate) type Confirm = oneshot::Sender<bool>;

/// A question about the server's locks, and where its answer goes.
#[derive(Debug)]
pub(crate) enum Inspect {
    /// Which are there?
    Locks(oneshot::Sender<Result<Vec<ServerLock>, Error>>),
    /// About the lock of a session that cannot be asked itself.
    Holder(Holder, oneshot::Sender<Result<bool, SessionError>>),
    /// Is a lock that another session holds refused to this one?
    Excluded(Request, oneshot::Sender<Result<bool, Error>>),
    /// Which session holds a lock that is waited for? The state gets the answer.
    Blocker(PhysicalKey),
}

/// The server session that holds a pinned lock.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) lock: Request,
    /// The server's number for it.
    pub(crate) session: i64,
    /// It is to be ended, if it holds the lock.
    pub(crate) end: bool,
}

impl Inspect {
    /// It gets no answer: a session failed in this phase.
    pub(crate) fn refuse(self, error: &SessionError, phase: Phase) {
        let error = error.clone();
        // The caller may be gone.
        match self {
            Self::Locks(answer) => drop(answer.send(Err(error.of(phase)))),
            Self::Holder(_, answer) => drop(answer.send(Err(error))),
            Self::Excluded(_, answer) => drop(answer.send(Err(error.of(phase)))),
            Self::Blocker(_) => {}
        }
    }
}

/// Where the news goes that there is a session, and the server known by it.
pub(crate) type Meet = oneshot::Sender<Result<(), Error>>;

#[derive(Debug)]
pub(crate) struct SessionEntry {
    pub(crate) link: Arc<Link>,
    /// Dropped with this entry: the entry is the session's life as far as guards are concerned.
    pub(crate) lost: watch::Sender<Loss>,
    pub(crate) inbox: Arc<Notify>,
    pub(crate) ready: bool,
    pub(crate) can_wait: bool,
    pub(crate) tells_holders: bool,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) local: Option<Arc<dyn InlineSession>>,
    /// It is to be asked for a sign of life before anything else.
    pub(crate) must_prove: bool,
    /// The last thing that it did was an inspection: a batch goes first now.
    pub(crate) has_inspected: bool,
    pub(crate) has_answered: bool,
    pub(crate) last_reply: Instant,
    pub(crate) last_ping: Instant,
    pub(crate) idle_since: Instant,
    pub(crate) releases: Vec<(Request, Option<Confirm>)>,
    /// A try that nobody wants any more stays until it is its turn.
    pub(crate) tries: VecDeque<Request>,
    /// Keys whose readers wait for a sign of life.
    pub(crate) probes: Vec<PhysicalKey>,
    pub(crate) wait: Option<WaitOrder>,
    /// Locks of its own that are to become stronger.
    pub(crate) upgrades: Vec<Upgrade>,
    /// The one of them that is on its way.
    pub(crate) upgrade_in_flight: Option<UpgradeInFlight>,
    pub(crate) inspections: Vec<Inspect>,
    /// The current statement, if there is one.
    pub(crate) in_flight: Option<InFlight>,
    /// An empty one, for its room.
    pub(crate) spare: Option<InFlight>,
    pub(crate) held: HashSet<PhysicalKey>,
}

/// What a statement releases and tries, and who wants to hear of the releases.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) batch: Arc<Batch>,
    pub(crate) confirms: Vec<Option<Confirm>>,
    /// No ticket above it had been drawn when it was sent.
    pub(crate) last_ticket: TicketId,
}

impl InFlight {
    /// Nothing, with room for much, unless somebody still reads the batch.
    pub(crate) fn emptied(mut self) -> Self {
        self.confirms.clear();
        match Arc::get_mut(&mut self.batch) {
            Some(batch) => batch.clear(),
            None => self.batch = Arc::default(),
        }
        self
    }
}

/// A pinned lock, which has a session of its own and a task that owns it.
#[derive(Debug)]
pub(crate) struct PinnedEntry {
    pub(crate) name: Key,
    /// Its session is open.
    pub(crate) open: bool,
    /// It waits in a queue like any other.
    pub(crate) queued: bool,
    /// What that session holds, and since when.
    pub(crate) held: Option<(Request, Instant)>,
}

#[derive(Debug, Clone)]
pub(crate) struct WaitOrder {
    pub(crate) request: Request,
    /// When the current slice ends, once it has begun.
    pub(crate) until: Option<Instant>,
}

impl SessionEntry {
    pub(crate) fn opening(now: Instant) -> Self {
        let (lost, link) = Link::new();
        Self {
            link,
            lost,
            inbox: Arc::new(Notify::new()),
            ready: false,
            can_wait: false,
            tells_holders: false,
            heartbeat: None,
            local: None,
            must_prove: false,
            has_inspected: false,
            has_answered: false,
            last_reply: now,
            last_ping: now,
            idle_since: now,
            releases: Vec::new(),
            tries: VecDeque::new(),
            probes: Vec::new(),
            wait: None,
            upgrades: Vec::new(),
            upgrade_in_flight: None,
            inspections: Vec::new(),
            in_flight: None,
            spare: None,
            held: HashSet::new(),
        }
    }

    /// Locks that it holds or may soon hold.
    pub(crate) fn load(&self) -> usize {
        let in_flight = self.in_flight.as_ref();
        let in_flight = in_flight.map_or(0, |in_flight| in_flight.batch.tries.len());
        self.held.len() + self.tries.len() + in_flight
    }

    pub(crate) fn can_try(&self) -> bool {
        let waits_to_upgrade = self
            .upgrade_in_flight
            .is_some_and(|upgrade| upgrade.waits());
        self.ready && self.wait.is_none() && !waits_to_upgrade
    }

    /// It has something to release or to try for. Where there is no server in between that is done by the time its task could look, but the task has to close it.
    pub(crate) fn wake_for_work(&self, closing: bool) {
        if self.local.is_none() || closing {
            self.inbox.notify_one();
        }
    }

    /// Whether it is proven that it holds this key still: by a reply of the server that is not older than a tenure, or by looking, where there is no server.
    pub(crate) fn proves(&self, key: &PhysicalKey, now: Instant) -> bool {
        match &self.local {
            Some(local) => local.holds(key),
            None => now.duration_since(self.last_reply) <= TENURE,
        }
    }

    /// When it last showed that all it holds is held. On a server any reply does; where there is none, nobody tells unless he is asked.
    pub(crate) fn last_proof(&self) -> Instant {
        match self.local {
            Some(_) => self.last_ping,
            None => self.last_reply,
        }
    }

    /// When it is to be asked for a sign of life, however busy it is.
    pub(crate) fn next_heartbeat(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat.filter(|_| !self.held.is_empty());
        heartbeat.map(|heartbeat| self.last_ping + heartbeat)
    }

    /// Holds nothing and has nothing to do.
    pub(crate) fn is_free(&self) -> bool {
        self.can_try()
            && self.load() == 0
            && self.releases.is_empty()
            && self.probes.is_empty()
            && self.in_flight.is_none()
    }
}
