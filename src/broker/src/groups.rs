//! The group coordinators of this broker, as handlers see them.
//!
//! In: a request and the group it is for. Out: what the group's shard answers. A shard stands in the
//! table while it serves: from the end of its loading until its partition goes or a write fails.
//!
//! Start at [`Groups::call`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coordinator::{Counts, Request, Response};
use metadata::Image;
use model::PartitionIndex;
use protocol::{ErrorCode, StrBytes};
use runtime::sync::{mpsc, oneshot};

use crate::request::RequestContext;

pub(crate) use metadata::controller::OFFSETS_TOPIC;

/// How many calls wait for a shard; past it, those who make them wait too.
pub(crate) const CALLS_MAX: usize = 1024;

/// A request to a shard.
pub(crate) struct GroupCall {
    pub(crate) api_version: i16,
    pub(crate) client_id: StrBytes,
    /// `/127.0.0.1`, as Kafka writes it.
    pub(crate) client_host: StrBytes,
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Result<Response, ErrorCode>>,
}

/// A shard to call, or what callers are told instead.
type Standing = Result<mpsc::Sender<GroupCall>, ErrorCode>;

/// The shards that serve now, by partition of the offsets topic; of one that is not here nothing is
/// known yet.
#[derive(Default)]
pub(crate) struct Groups {
    shards: Mutex<BTreeMap<PartitionIndex, Standing>>,
    counts: Mutex<BTreeMap<PartitionIndex, Counts>>,
}

/// Who asks; nobody in particular is the broker itself.
#[derive(Default)]
struct Asker {
    api_version: i16,
    client_id: StrBytes,
    client_host: StrBytes,
}

async fn ask(
    calls: &mpsc::Sender<GroupCall>,
    from: Asker,
    request: Request,
) -> Result<Response, ErrorCode> {
    let (answer, answered) = oneshot::channel();
    let Asker { api_version, client_id, client_host } = from;
    let call = GroupCall { api_version, client_id, client_host, request, answer };
    calls.send(call).await.map_err(|_| ErrorCode::NotCoordinator)?;
    answered.await.unwrap_or(Err(ErrorCode::NotCoordinator))
}

impl Groups {
    /// A shard begins to serve.
    pub(crate) fn open(&self, partition: PartitionIndex, calls: mpsc::Sender<GroupCall>) {
        self.lock().insert(partition, Ok(calls));
    }

    /// The shard behind `calls` ends, or none could begin; callers are told `why` until one serves again.
    /// A shard that serves in its place, for a topic that was made anew, stays.
    pub(crate) fn close(
        &self,
        partition: PartitionIndex,
        calls: Option<&mpsc::Sender<GroupCall>>,
        why: ErrorCode,
    ) {
        let mut shards = self.lock();
        let is_other = |serving: &mpsc::Sender<GroupCall>| {
            calls.is_none_or(|calls| !calls.same_channel(serving))
        };
        if !matches!(shards.get(&partition), Some(Ok(serving)) if is_other(serving)) {
            shards.insert(partition, Err(why));
        }
    }

    /// A shard that serves answers everything with `why` from now on.
    #[cfg(test)]
    pub(crate) fn refuse(&self, partition: PartitionIndex, why: ErrorCode) {
        self.lock().insert(partition, Err(why));
    }

    /// Asks the shard of `group` and waits for its answer.
    ///
    /// # Errors
    /// NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS or COORDINATOR_NOT_AVAILABLE: clients look for the
    /// coordinator again, or come back. UNKNOWN_SERVER_ERROR when what the request makes of the group
    /// does not fit into its log.
    pub(crate) async fn call(
        &self,
        image: &Image,
        context: &RequestContext,
        group: &str,
        request: Request,
    ) -> Result<Response, ErrorCode> {
        let partition = partition_of(image, group).ok_or(ErrorCode::NotCoordinator)?;
        self.call_shard(partition, context, request).await
    }

    /// Asks one shard and waits for its answer.
    ///
    /// # Errors
    /// As [`Groups::call`].
    pub(crate) async fn call_shard(
        &self,
        partition: PartitionIndex,
        context: &RequestContext,
        request: Request,
    ) -> Result<Response, ErrorCode> {
        let calls = self.lock().get(&partition).cloned();
        let calls = calls.unwrap_or(Err(ErrorCode::CoordinatorLoadInProgress))?;
        let from = Asker {
            api_version: context.api_version,
            client_id: context.client_id.clone().unwrap_or_default(),
            client_host: StrBytes::from(java_address(context.connection.peer.ip())),
        };
        ask(&calls, from, request).await
    }

    /// Lets every shard that serves count what it has. What [`Groups::counts`] tells of each is that,
    /// as soon as it has answered.
    pub(crate) async fn count(&self) {
        let serving: Vec<_> = {
            let shards = self.lock();
            let serving = shards.iter();
            serving.filter_map(|(at, shard)| Some((*at, shard.clone().ok()?))).collect()
        };
        let counted = serving.into_iter().map(async |(partition, calls)| {
            let asked = ask(&calls, Asker::default(), Request::Count);
            if let Ok(Response::Count(counts)) = asked.await {
                self.lock_counts().insert(partition, counts);
            }
        });
        runtime::join_all(counted).await;
    }

    /// What the shards that serve had when they last counted.
    pub(crate) fn counts(&self) -> Vec<Counts> {
        let shards = self.lock();
        let counts = self.lock_counts();
        let counts = counts.iter().filter(|(at, _)| matches!(shards.get(at), Some(Ok(_))));
        counts.map(|(_, counts)| counts.clone()).collect()
    }

    fn lock_counts(&self) -> MutexGuard<'_, BTreeMap<PartitionIndex, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionIndex, Standing>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The partition of the offsets topic that has `group`; `None` when there is no such topic.
pub(crate) fn partition_of(image: &Image, group: &str) -> Option<PartitionIndex> {
    let count = image.topic(OFFSETS_TOPIC)?.partitions.len();
    let count = i32::try_from(count).ok().filter(|count| *count > 0)?;
    Some(PartitionIndex((java_hash(group) & i32::MAX) % count))
}

/// An address as Java's `InetAddress` writes it, and with it Kafka's records and answers.
fn java_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            format!("/{}", groups.join(":"))
        }
    }
}

/// Java's `String.hashCode`: over UTF-16 units, as Kafka places groups (`Utils.abs`).
fn java_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_ends_late_does_not_close_the_one_in_its_place() {
        let (groups, place) = (Groups::default(), PartitionIndex(3));
        let (old, _old_calls) = mpsc::channel(1);
        let (new, _new_calls) = mpsc::channel(1);
        groups.open(place, old.clone());
        groups.open(place, new.clone());
        groups.close(place, Some(&old), ErrorCode::NotCoordinator);
        groups.close(place, None, ErrorCode::CoordinatorNotAvailable);
        assert!(groups.lock().get(&place).is_some_and(Result::is_ok));
        groups.close(place, Some(&new), ErrorCode::NotCoordinator);
        let standing = groups.lock().get(&place).cloned();
        assert_eq!(standing.and_then(Result::err), Some(ErrorCode::NotCoordinator));
    }

    #[test]
    fn addresses_are_javas() {
        let address = |text: &str| java_address(text.parse().unwrap());
        assert_eq!(address("127.0.0.1"), "/127.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1"), "/10.0.0.1");
        assert_eq!(address("::1"), "/0:0:0:0:0:0:0:1");
        assert_eq!(address("2001:db8::ff00:42"), "/2001:db8:0:0:0:0:ff00:42");
    }

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("my-group"), -1_906_497_762);
        assert_eq!(java_hash("groß-😀"), 298_292_213);
    }
}
