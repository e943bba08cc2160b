//! Fetch sessions: the rules of KIP-227, with time and requests made up.

use std::time::Duration;

use model::Instant;
use protocol::messages::FetchRequest;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::{ErrorCode, Records, StrBytes};
use runtime::split_seed;

use super::SessionCache;

const START: Instant = Instant(1_000_000_000);

fn cache(slots: usize) -> SessionCache {
    SessionCache::new(slots, split_seed(1, "test", 0))
}

fn request(session: (i32, i32), partitions: &[i32]) -> FetchRequest {
    let partition = |&partition: &i32| FetchPartition { partition, ..Default::default() };
    let topic = FetchTopic {
        topic: StrBytes::from_static("t"),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    };
    FetchRequest {
        session_id: session.0,
        session_epoch: session.1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn data(partition_index: i32, high_watermark: i64) -> PartitionData {
    let records = Some(Records::EMPTY);
    PartitionData { partition_index, high_watermark, records, ..Default::default() }
}

/// Opens and answers a request; gives the session and which partitions were told.
fn fetch(
    cache: &SessionCache,
    request: &FetchRequest,
    now: Instant,
    high_watermark: impl Fn(i32) -> i64,
) -> Result<(i32, Vec<i32>), ErrorCode> {
    let open = cache.open(request, false, now)?;
    let answers: Vec<_> =
        open.wanted.iter().map(|w| data(w.partition, high_watermark(w.partition))).collect();
    let (session, told) = cache.close(open, answers, now);
    Ok((session, told.iter().map(|(wanted, _)| wanted.partition).collect()))
}

#[test]
fn an_incremental_answer_tells_only_what_is_new() {
    let cache = cache(10);
    let (id, told) = fetch(&cache, &request((0, 0), &[0, 1, 2]), START, |_| 5).unwrap();
    assert!(id != 0);
    assert_eq!(told, [0, 1, 2], "a full answer tells everything");
    assert_eq!(fetch(&cache, &request((id, 1), &[]), START, |_| 5), Ok((id, vec![])));
    let only_one = |partition| if partition == 1 { 6 } else { 5 };
    assert_eq!(fetch(&cache, &request((id, 2), &[]), START, only_one), Ok((id, vec![1])));
    assert_eq!(fetch(&cache, &request((id, 3), &[]), START, only_one), Ok((id, vec![])));
}

#[test]
fn partitions_are_added_changed_forgotten_and_begin_in_turn() {
    let cache = cache(10);
    let (id, _) = fetch(&cache, &request((0, 0), &[0, 1]), START, |_| 5).unwrap();
    let (_, told) = fetch(&cache, &request((id, 1), &[2]), START, |_| 5).unwrap();
    assert_eq!(told, [2]);
    let mut forget = request((id, 2), &[]);
    forget.forgotten_topics_data.push(ForgottenTopic {
        topic: StrBytes::from_static("t"),
        partitions: vec![0],
        ..Default::default()
    });
    let open = cache.open(&forget, false, START).unwrap();
    let mut order: Vec<i32> = open.wanted.iter().map(|w| w.partition).collect();
    let first = order[0];
    order.sort_unstable();
    assert_eq!(order, [1, 2]);
    let open = cache.open(&request((id, 3), &[]), false, START).unwrap();
    assert!(open.wanted[0].partition != first, "another one is first now");
}

#[test]
fn a_request_out_of_turn_is_refused() {
    let cache = cache(10);
    let (id, _) = fetch(&cache, &request((0, 0), &[0]), START, |_| 5).unwrap();
    let open = |session, by_id| cache.open(&request(session, &[]), by_id, START).map(|_| ());
    assert_eq!(open((id, 2), false), Err(ErrorCode::InvalidFetchSessionEpoch));
    assert_eq!(open((id + 1, 1), false), Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(open((id, 1), true), Err(ErrorCode::FetchSessionTopicIdError));
    assert_eq!(open((id, 1), false), Ok(()));
    assert_eq!(open((id, 1), false), Err(ErrorCode::InvalidFetchSessionEpoch), "taken once");
    assert_eq!(open((id, -1), false), Ok(()), "closed");
    assert_eq!(open((id, 2), false), Err(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn an_error_is_told_and_so_is_its_end() {
    let cache = cache(10);
    let (id, _) = fetch(&cache, &request((0, 0), &[0]), START, |_| 5).unwrap();
    let open = cache.open(&request((id, 1), &[]), false, START).unwrap();
    let error_code = ErrorCode::KafkaStorageError.code();
    let failed = PartitionData { error_code, ..data(0, 5) };
    assert_eq!(cache.close(open, vec![failed], START).1.len(), 1);
    assert_eq!(fetch(&cache, &request((id, 2), &[]), START, |_| 5), Ok((id, vec![0])));
    assert_eq!(fetch(&cache, &request((id, 3), &[]), START, |_| 5), Ok((id, vec![])));
}

#[test]
fn a_full_cache_gives_up_idle_sessions_only() {
    let cache = cache(1);
    let (first, _) = fetch(&cache, &request((0, 0), &[0]), START, |_| 5).unwrap();
    let soon = START + Duration::from_secs(60);
    assert_eq!(fetch(&cache, &request((0, 0), &[0]), soon, |_| 5), Ok((0, vec![0])), "no room");
    let late = START + Duration::from_secs(121);
    let (second, _) = fetch(&cache, &request((0, 0), &[0]), late, |_| 5).unwrap();
    assert!(second != 0 && second != first);
    let gone = cache.open(&request((first, 1), &[]), false, late).map(|_| ());
    assert_eq!(gone, Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(cache.count(), 1);
}
