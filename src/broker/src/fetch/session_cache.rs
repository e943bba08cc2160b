//! All fetch sessions of this broker, with a bound on their number (KIP-227).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{FastMap, Instant};
use protocol::ErrorCode;
use protocol::messages::FetchRequest;
use protocol::messages::fetch_response::PartitionData;
use runtime::{RandomStream, Rng};

use super::Wanted;
use super::session::{Session, wanted};

/// The epoch of a request that wants a new session.
const INITIAL: i32 = 0;

/// The epoch of a request that wants none, and closes the one it names.
const FINAL: i32 = -1;

/// A session idle for so long gives way to a new one; younger ones do not give way to larger ones
/// (`min.incremental.fetch.session.eviction.ms`).
const EVICTION_AGE: Duration = Duration::from_secs(120);

struct Slots {
    sessions: FastMap<i32, Arc<Mutex<Session>>>,
    random: RandomStream,
}

/// The sessions.
pub(crate) struct SessionCache {
    slots: Mutex<Slots>,
    slots_max: usize,
}

/// A fetch whose partitions are known.
#[derive(Debug)]
pub(crate) struct OpenFetch {
    /// What to read, in this order.
    pub(crate) wanted: Vec<Wanted>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    /// Becomes a session, if there is room, when it is answered.
    Full {
        uses_topic_ids: bool,
        is_privileged: bool,
    },
    Incremental {
        id: i32,
        session: Arc<Mutex<Session>>,
    },
}

impl SessionCache {
    /// Room for `slots_max` sessions (`max.incremental.fetch.session.cache.slots`).
    pub(crate) fn new(slots_max: usize, random: RandomStream) -> SessionCache {
        let slots = Slots { sessions: FastMap::default(), random };
        SessionCache { slots: Mutex::new(slots), slots_max }
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.slots).sessions.len()
    }

    /// Finds out what `request` wants to read.
    ///
    /// # Errors
    /// The error for the whole response: the session is unknown, or the request is not its next.
    pub(crate) fn open(
        &self,
        request: &FetchRequest,
        uses_topic_ids: bool,
        now: Instant,
    ) -> Result<OpenFetch, ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == FINAL || epoch == INITIAL {
            if id != 0 {
                lock(&self.slots).sessions.remove(&id);
            }
            let is_privileged = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
            let kind = match epoch {
                FINAL => Kind::Sessionless,
                _ => Kind::Full { uses_topic_ids, is_privileged },
            };
            return Ok(OpenFetch { wanted: wanted(request, uses_topic_ids).collect(), kind });
        }
        let found = lock(&self.slots).sessions.get(&id).map(Arc::clone);
        let session = found.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut open = lock(&session);
        if open.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if open.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        open.update(request, now);
        let wanted = open.rotate();
        drop(open);
        if wanted.is_empty() {
            // Nothing left to read: the session ends (`FetchManager.newContext`).
            lock(&self.slots).sessions.remove(&id);
            return Ok(OpenFetch { wanted, kind: Kind::Sessionless });
        }
        Ok(OpenFetch { wanted, kind: Kind::Incremental { id, session } })
    }

    /// What of `data`, one for each wanted partition in order, goes into the response, and the
    /// session id that does.
    pub(crate) fn close(
        &self,
        fetch: OpenFetch,
        data: Vec<PartitionData>,
        now: Instant,
    ) -> (i32, Vec<(Wanted, PartitionData)>) {
        let pairs = fetch.wanted.into_iter().zip(data);
        match fetch.kind {
            Kind::Sessionless => (0, pairs.collect()),
            Kind::Full { uses_topic_ids, is_privileged } => {
                let pairs: Vec<_> = pairs.collect();
                let mut session = Session::new(uses_topic_ids, is_privileged, now);
                for (wanted, data) in &pairs {
                    session.put(wanted);
                    session.tell(wanted, data);
                }
                (self.insert(session, now), pairs)
            }
            Kind::Incremental { id, session } => {
                let mut session = lock(&session);
                let news = pairs.filter(|(wanted, data)| session.tell(wanted, data));
                (id, news.collect())
            }
        }
    }

    /// Keeps a new session if there is room or another gives way; 0 if not.
    fn insert(&self, session: Session, now: Instant) -> i32 {
        let mut slots = lock(&self.slots);
        if session.size() == 0 {
            return 0;
        }
        if slots.sessions.len() >= self.slots_max && !evict(&mut slots, &session, now) {
            return 0;
        }
        let id = loop {
            let id = (slots.random.next_u32() & 0x7fff_ffff) as i32;
            if id != 0 && !slots.sessions.contains_key(&id) {
                break id;
            }
        };
        slots.sessions.insert(id, Arc::new(Mutex::new(session)));
        id
    }
}

/// Removes the session with the least claim to its place, if its claim is less than the new one's.
fn evict(slots: &mut Slots, new: &Session, now: Instant) -> bool {
    let claim = |id: i32, session: &Session| {
        let is_idle = now.since(session.last_used) > EVICTION_AGE;
        (!is_idle, session.is_privileged, session.size(), session.last_used, id)
    };
    let least = slots.sessions.iter().map(|(&id, session)| claim(id, &lock(session))).min();
    let Some((is_active, is_privileged, size, _, id)) = least else { return false };
    let created = slots.sessions.get(&id).map(|session| lock(session).created);
    let is_old = created.is_some_and(|created| now.since(created) > EVICTION_AGE);
    let gives_way = !is_active
        || (new.is_privileged && !is_privileged)
        || (is_old && new.is_privileged == is_privileged && new.size() > size);
    if gives_way {
        slots.sessions.remove(&id);
    }
    gives_way
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes guard is replaced or counted up as a whole: a panic leaves nothing halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
