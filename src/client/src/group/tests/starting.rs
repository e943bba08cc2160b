//! From an assignment to the first record: topics that come later, committed offsets that nobody
//! tells, partitions that are paused or sought before it is known where the group was.

use super::*;

/// A member that joined by the consumer protocol.
fn modern() -> GroupConfig {
    GroupConfig { protocol: GroupProtocol::Consumer, ..by_hand() }
}

#[test]
fn a_member_that_is_out_does_not_ask_for_offsets_in_a_loop() {
    run(async |runtime, net| {
        let world = start(&net);
        let unknown = Trouble::Refuse(ErrorCode::UnknownMemberId);
        look(&world).trouble(ApiKey::OffsetFetch, &[unknown; 1_000]);
        let mut consumer = member(&runtime, modern()).await;
        look(&world).trouble(ApiKey::ConsumerGroupHeartbeat, &[unknown]);
        let before = runtime.clock.now();
        // The next heartbeat would be due after five seconds.
        let Polled::Lost(change) = event(&mut consumer).await else { panic!("not lost") };
        let elapsed = runtime.clock.now().since(before);
        assert!(elapsed < Duration::from_secs(1), "told after {elapsed:?}");
        assert_eq!(change.partitions.len(), 2);
        let asked = look(&world).log.iter().filter(|entry| *entry == "1:OffsetFetch").count();
        assert!(asked < 20, "asked {asked} times");
    });
}

#[test]
fn what_an_answer_leaves_out_is_asked_for_again_with_a_pause() {
    run(async |runtime, net| {
        let world = start(&net);
        look(&world).silent_offset_fetches = 1_000;
        let mut consumer = member(&runtime, by_hand()).await;
        assert_eq!(consumer.poll(Duration::from_secs(2)).await.expect("no error"), Polled::Nothing);
        let asked = look(&world).log.iter().filter(|entry| *entry == "1:OffsetFetch").count();
        assert!((2..=20).contains(&asked), "asked {asked} times");
        look(&world).silent_offset_fetches = 0;
        assert_eq!(positions(&mut consumer).await, [10, 20]);
    });
}

#[test]
fn a_topic_that_is_made_later_is_read_soon() {
    run(async |runtime, net| {
        let world = start(&net);
        let mut consumer = member(&runtime, by_hand()).await;
        consumer.subscribe(Subscription::topics(["t", "late"])).await.expect("topics by name");
        assert!(matches!(event(&mut consumer).await, Polled::Revoked(_)));
        assert_eq!(assigned(&mut consumer).await.partitions.len(), 2);
        consumer.poll(Duration::from_secs(10)).await.expect("no error");
        {
            let world = look(&world);
            let mut metadata = world.metadata.lock().unwrap_or_else(PoisonError::into_inner);
            let mut topic = metadata.topics[0].clone();
            topic.name = Some("late".into());
            topic.topic_id = Uuid([8; 16]);
            metadata.topics.push(topic);
        }
        let before = runtime.clock.now();
        assert!(matches!(event(&mut consumer).await, Polled::Revoked(_)));
        assert_eq!(assigned(&mut consumer).await.partitions.len(), 4);
        let elapsed = runtime.clock.now().since(before);
        assert!(elapsed < Duration::from_secs(5), "after {elapsed:?}");
    });
}

#[test]
fn a_partition_can_be_paused_as_soon_as_it_is_assigned() {
    run(async |runtime, net| {
        let world = start(&net);
        let mut consumer = member(&runtime, by_hand()).await;
        let at = |partition| TopicPartition::new("t", partition);
        consumer.pause(&at(0)).expect("it is assigned");
        consumer.pause(&at(1)).expect("it is assigned");
        consumer.resume(&at(1)).expect("it is assigned");
        assert!(consumer.pause(&at(2)).is_err(), "it is not assigned");
        positions(&mut consumer).await;
        consumer.poll(Duration::from_secs(1)).await.expect("no error");
        assert_eq!(look(&world).fetched, BTreeSet::from([1]));
        consumer.resume(&at(0)).expect("it is assigned");
        consumer.poll(Duration::from_secs(1)).await.expect("no error");
        assert_eq!(look(&world).fetched, BTreeSet::from([0, 1]));
    });
}

#[test]
fn a_pause_outlives_a_seek_before_the_start_is_known() {
    run(async |runtime, net| {
        let world = start(&net);
        let mut consumer = member(&runtime, by_hand()).await;
        let at = TopicPartition::new("t", 0);
        consumer.pause(&at).expect("it is assigned");
        consumer.seek(&at, Offset(50)).expect("it is assigned");
        assert_eq!(positions(&mut consumer).await, [50, 20]);
        consumer.poll(Duration::from_secs(1)).await.expect("no error");
        assert_eq!(look(&world).fetched, BTreeSet::from([1]));
    });
}

#[test]
fn a_place_that_was_sought_has_no_leader_epoch() {
    run(async |runtime, net| {
        start(&net);
        let mut consumer = member(&runtime, by_hand()).await;
        positions(&mut consumer).await;
        let at = TopicPartition::new("t", 0);
        for seek in [
            |consumer: &mut GroupConsumer, at: &TopicPartition| consumer.seek(at, Offset(11)),
            |consumer: &mut GroupConsumer, at: &TopicPartition| consumer.seek_to_beginning(at),
            |consumer: &mut GroupConsumer, at: &TopicPartition| consumer.seek_to_end(at),
            |consumer: &mut GroupConsumer, at: &TopicPartition| {
                consumer.seek_to_time(at, model::Timestamp(1))
            },
        ] {
            // Of the last record that was handed out.
            consumer.epochs.insert(at.clone(), LeaderEpoch(7));
            seek(&mut consumer, &at).expect("it is assigned");
            positions(&mut consumer).await;
            assert_eq!(consumer.positions()[&at].leader_epoch, None);
        }
    });
}
