//! Each fault: what both ends see of it, and when.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use super::super::{Side, Struck, Which};
use super::*;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

#[test]
fn a_cut_holds_bytes_in_order() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        assert_eq!(scene.network.cut(one, two, 1), Struck { connections: 1, segments: 0 });
        let cut_at = scene.world.now();
        let whole = pattern(20_000);
        for part in whole.chunks(1_000) {
            write(&mut *client, part).await.unwrap();
            scene.sleep(10 * MILLI).await;
        }
        // The other direction is open.
        write(&mut *server, b"hello").await.unwrap();
        assert_eq!(read_count(&mut *client, 5).await, b"hello");
        scene.sleep(3 * SECOND).await;
        assert_eq!(scene.network.connections()[0].to_server.in_flight, 20_000);
        let healed_at = scene.world.now();
        assert!(20 <= scene.network.heal(one, two, 1));
        assert_eq!(read_count(&mut *server, 20_000).await, whole);
        // Retransmissions wait twice as long each time.
        let took = scene.world.now() - healed_at;
        assert!(took <= healed_at - cut_at + SECOND, "{took}");
        assert!(20 <= scene.network.effects().segments_held);
    });
}

#[test]
fn a_cut_strikes_what_is_on_its_way() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(WHOLE);
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        write(&mut *client, b"request").await.unwrap();
        let written_at = scene.world.now();
        assert_eq!(scene.network.cut(one, two, 1), Struck { connections: 1, segments: 1 });
        scene.sleep(100 * MILLI).await;
        assert_eq!(scene.network.heal(one, two, 1), 1);
        read_count(&mut *server, 7).await;
        let took = scene.world.now() - written_at;
        assert!((200 * MILLI..450 * MILLI).contains(&took), "{took}");
    });
}

#[test]
fn connects_hang_in_a_cut_of_either_direction() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let mut listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        for (from, to) in [(one, two), (two, one)] {
            scene.network.cut(from, to, u64::from(from.0));
            let begun = scene.world.now();
            let net = scene.net(scene.one);
            let connect = scene.spawn(async move { net.connect("two:9").await });
            scene.sleep(2 * SECOND + 500 * MILLI).await;
            assert!(!connect.is_finished());
            assert!(poll_once(listener.accept()).is_pending());
            assert_eq!(scene.network.heal(from, to, u64::from(from.0)), 1);
            let _client = connect.join().await.unwrap().unwrap();
            listener.accept().await.unwrap();
            // At the third attempt: after one second and two more.
            let took = scene.world.now() - begun;
            assert!((3 * SECOND..3 * SECOND + 100 * MILLI).contains(&took), "{took}");
        }
        assert_eq!(scene.network.effects().connects_hung, 2);
    });
}

#[test]
fn a_refusal_that_is_cut_off_is_asked_for_again() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(PLAIN);
        let (one, two) = scene.nodes();
        let net = scene.net(scene.one);
        let connect = scene.spawn(async move { net.connect("two:9").await.err().unwrap().kind() });
        while scene.network.effects().connects_refused == 0 {
            scene.sleep(1_000).await;
        }
        scene.network.cut(two, one, 1);
        scene.sleep(500 * MILLI).await;
        assert!(!connect.is_finished());
        scene.network.heal(two, one, 1);
        assert_eq!(connect.join().await.unwrap(), ErrorKind::ConnectionRefused);
        assert!(SECOND < scene.world.now());
        assert_eq!(scene.network.effects().resets_lost, 1);
    });
}

#[test]
fn an_isolated_node_hears_and_says_nothing() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        assert_eq!(scene.network.isolate(two).connections, 1);
        write(&mut *client, b"request").await.unwrap();
        write(&mut *server, b"response").await.unwrap();
        scene.sleep(SECOND).await;
        assert_eq!(scene.network.effects().segments, 0);
        // It reaches itself.
        let own = scene.net(scene.two);
        let _listener = own.listen("0.0.0.0:9").await.unwrap();
        own.connect("two:9").await.unwrap();
        scene.network.rejoin(two);
        assert_eq!(read_count(&mut *client, 8).await, b"response");
        assert_eq!(read_count(&mut *server, 7).await, b"request");
        scene.network.cut(one, two, 1);
        scene.network.isolate(one);
        scene.network.heal_all();
        write(&mut *client, b"more").await.unwrap();
        assert_eq!(read_count(&mut *server, 4).await, b"more");
    });
}

#[test]
fn a_stall_delays_and_loses_nothing() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        let stalled_at = scene.world.now();
        scene.network.stall(one, two, Duration::from_millis(700), 1);
        for part in pattern(5_000).chunks(500) {
            write(&mut *client, part).await.unwrap();
        }
        assert_eq!(read_count(&mut *server, 5_000).await, pattern(5_000));
        let took = scene.world.now() - stalled_at;
        assert!((700 * MILLI..702 * MILLI).contains(&took), "{took}");
        // A reset waits as well.
        scene.network.stall(two, one, Duration::from_millis(300), 1);
        let stalled_at = scene.world.now();
        write(&mut *client, b"two").await.unwrap();
        read_count(&mut *server, 1).await;
        drop(server);
        assert_eq!(read_all(&mut *client).await, Err(ErrorKind::ConnectionReset));
        assert!(300 * MILLI <= scene.world.now() - stalled_at);
        let effects = scene.network.effects();
        assert!(effects.segments_stalled != 0 && effects.segments_held == 0, "{effects:?}");
    });
}

#[test]
fn a_reset_strikes_both_ends_in_mid_frame() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(PLAIN);
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        write(&mut *client, b"first half").await.unwrap();
        assert_eq!(read_count(&mut *server, 5).await, b"first");
        write(&mut *client, b"second half").await.unwrap();
        let struck = scene.network.reset_connections(two, one, Which::All);
        assert_eq!(struck, Struck { connections: 1, segments: 1 });
        // What had arrived can be read.
        assert_eq!(read_count(&mut *server, 5).await, b" half");
        assert_eq!(read_some(&mut *server).await, Err(ErrorKind::ConnectionReset));
        assert_eq!(read_some(&mut *client).await, Err(ErrorKind::ConnectionReset));
        assert_eq!(scene.network.effects().bytes_lost, 11);
        assert_eq!(scene.network.reset_connections(one, two, Which::All), Struck::default());
    });
}

#[test]
fn a_reset_can_strike_one_of_many() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let mut pairs = Vec::new();
        for _ in 0..5 {
            pairs.push(scene.pair().await);
        }
        assert_eq!(scene.network.reset_connections(one, two, Which::One(1)).connections, 1);
        scene.sleep(100 * MILLI).await;
        let open = scene.network.connections().iter().filter(|info| info.is_open).count();
        assert_eq!(open, 4);
        let mut reset = 0;
        for (client, _) in &mut pairs {
            reset += usize::from(write(&mut **client, b"x").await.is_err());
        }
        assert_eq!(reset, 1);
    });
}

#[test]
fn an_end_in_mid_response() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(WHOLE);
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        assert_eq!(scene.network.close_mid_response(two, one, 1).connections, 1);
        write(&mut *client, b"not struck").await.unwrap();
        read_count(&mut *server, 10).await;
        write(&mut *server, &pattern(60)).await.unwrap();
        let received = read_all(&mut *client).await.unwrap();
        assert!((1..60).contains(&received.len()), "{} bytes", received.len());
        assert_eq!(received, pattern(60)[..received.len()]);
        // The sender knows of nothing until it writes.
        scene.sleep(SECOND).await;
        write(&mut *server, b"more").await.unwrap();
        scene.sleep(50 * MILLI).await;
        assert_eq!(write(&mut *server, b"more").await, Err(ErrorKind::ConnectionReset));
        assert_eq!(scene.network.effects().streams_cut_short, 1);
    });
}

#[test]
fn a_half_open_connection_is_silent() {
    for_seeds(|scene| async move {
        let (mut client, mut server) = scene.pair().await;
        let (_other_client, _other_server) = scene.pair().await;
        let number = scene.network.connections()[0].number;
        assert_eq!(scene.network.half_open_connection(number).connections, 1);
        write(&mut *client, b"request").await.unwrap();
        write(&mut *server, b"response").await.unwrap();
        drop(client);
        let begun = scene.world.now();
        let silence = scene.spawn(async move { read_all(&mut *server).await });
        scene.sleep(600 * SECOND).await;
        assert!(!silence.is_finished());
        assert_eq!(scene.network.effects().segments, 0);
        // What it sent is given up in the end.
        assert_eq!(silence.join().await.unwrap(), Err(ErrorKind::TimedOut));
        let took = scene.world.now() - begun;
        assert!((924 * SECOND..934 * SECOND).contains(&took), "{took}");
        let (one, two) = scene.nodes();
        assert_eq!(scene.network.half_open(one, two, Which::All).connections, 1);
    });
}

#[test]
fn a_writer_on_a_silent_connection_gives_up() {
    for_seeds(|scene| async move {
        let (mut client, _server) = scene.pair().await;
        let whole = pattern(1_000_000);
        let begun = scene.world.now();
        let number = scene.network.connections()[0].number;
        let writing = scene.spawn(async move { write(&mut *client, &whole).await });
        scene.sleep(100 * MILLI).await;
        // All that fits has arrived; what is read makes no room.
        scene.network.half_open_connection(number);
        assert_eq!(writing.join().await.unwrap(), Err(ErrorKind::TimedOut));
        assert!(scene.world.now() - begun < 930 * SECOND);
    });
}

#[test]
fn connects_are_refused_or_hang_for_a_while() {
    for_seeds(|scene| async move {
        let (_, two) = scene.nodes();
        let net = scene.net(scene.one);
        let mut listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        scene.network.refuse_connects(two, Duration::from_secs(1), 1);
        let refused = net.connect("two:9").await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(scene.network.effects().connects_refused_by_fault, 1);
        scene.sleep(SECOND).await;
        net.connect("two:9").await.unwrap();
        listener.accept().await.unwrap();
        let begun = scene.world.now();
        scene.network.hang_connects(two, Duration::from_secs(5), 1);
        net.connect("two:9").await.unwrap();
        listener.accept().await.unwrap();
        let took = scene.world.now() - begun;
        assert!((7 * SECOND..7 * SECOND + 100 * MILLI).contains(&took), "{took}");
        scene.network.hang_connects(two, Duration::from_secs(1_000), 1);
        let hung = net.connect("two:9").await.err().unwrap();
        assert_eq!(hung.kind(), ErrorKind::TimedOut);
        assert_eq!(scene.network.effects().connects_hung, 2);
    });
}

#[test]
fn a_flipped_bit_is_one_bit() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(WHOLE);
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        scene.network.flip_bit(one, two, 20, 1);
        write(&mut *client, &[0; 19]).await.unwrap();
        write(&mut *client, &[0; 60]).await.unwrap();
        write(&mut *client, &[0; 60]).await.unwrap();
        let received = read_count(&mut *server, 19 + 60 + 60).await;
        let flipped = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
        assert_eq!(flipped(&received), 1);
        assert_eq!(flipped(&received[19..79]), 1);
        assert_eq!(scene.network.effects().bits_flipped, 1);
    });
}

#[test]
fn reads_of_one_byte() {
    for_seeds(|scene| async move {
        let (_, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        let struck = scene.network.one_byte_reads(two, Duration::from_secs(1), 1);
        assert_eq!(struck.connections, 1);
        write(&mut *client, b"hello").await.unwrap();
        for byte in b"hello" {
            assert_eq!(read_some(&mut *server).await.unwrap(), [*byte]);
        }
        assert_eq!(scene.network.effects().single_byte_reads, 4);
        scene.sleep(SECOND).await;
        let mut longest = 0;
        for _ in 0..10 {
            write(&mut *client, b"hello").await.unwrap();
            scene.sleep(100 * MILLI).await;
            longest = longest.max(read_some(&mut *server).await.unwrap().len());
        }
        assert!(5 <= longest);
    });
}

#[test]
fn a_response_is_lost_after_its_request_arrived() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(WHOLE);
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        scene.network.lose_response(two, one, 1);
        let begun = scene.world.now();
        write(&mut *client, b"request").await.unwrap();
        assert_eq!(read_count(&mut *server, 7).await, b"request");
        write(&mut *server, b"response").await.unwrap();
        assert_eq!(read_all(&mut *client).await, Err(ErrorKind::ConnectionReset));
        assert!(scene.world.now() - begun < 3 * SECOND);
        scene.sleep(100 * MILLI).await;
        assert_eq!(write(&mut *server, b"x").await, Err(ErrorKind::ConnectionReset));
        assert_eq!(scene.network.effects().responses_lost, 1);
        assert_eq!(scene.network.effects().segments, 1);
    });
}

#[test]
fn observers_see_what_is_written_and_can_strike_it() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(WHOLE);
        let (one, two) = scene.nodes();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        scene.network.on_segment(Box::new(move |event| {
            lock(&log).push((event.from, event.sender, event.connection, event.bytes.to_vec()));
            if event.bytes == b"cut me" {
                event.network.cut(event.from, event.to, 1);
            }
        }));
        let (mut client, mut server) = scene.pair().await;
        write(&mut *client, b"request").await.unwrap();
        read_count(&mut *server, 7).await;
        write(&mut *server, b"cut me").await.unwrap();
        scene.sleep(SECOND).await;
        assert_eq!(scene.network.effects().segments, 1);
        assert_eq!(
            *lock(&seen),
            [
                (one, Side::Client, 1, b"request".to_vec()),
                (two, Side::Server, 1, b"cut me".to_vec()),
            ]
        );
    });
}

#[test]
fn an_observer_can_end_the_process_that_writes() {
    for_seeds(|scene| async move {
        let (mut client, mut server) = scene.pair().await;
        let ending = scene.clone();
        let killer = move |end| {
            if let Some(process) = ending.world.process(ending.two.node) {
                ending.end(process, end);
            }
        };
        let killer = Mutex::new(Some(killer));
        scene.network.on_segment(Box::new(move |_| {
            if let Some(kill) = lock(&killer).take() {
                kill(End::Killed);
            }
        }));
        let response = scene.spawn(async move { write(&mut *server, b"response").await });
        assert_eq!(read_all(&mut *client).await.unwrap(), b"");
        scene.sleep(SECOND).await;
        assert!(!response.is_finished());
    });
}

#[test]
fn a_fault_draws_the_same_whatever_came_before() {
    let reset = |seed, has_another: bool| {
        let scene = Scene::new(seed, false);
        let inner = scene.clone();
        let numbers = scene.world.block_on(EVENTS_MAX, async move {
            let (one, two) = inner.nodes();
            let mut pairs = Vec::new();
            for _ in 0..5 {
                pairs.push(inner.pair().await);
            }
            if has_another {
                inner.network.lose_response(two, one, 1);
            }
            inner.network.reset_connections(one, two, Which::One(2));
            inner.sleep(100 * MILLI).await;
            let open = inner.network.connections().into_iter().filter(|info| info.is_open);
            open.map(|info| info.number).collect::<Vec<_>>()
        });
        numbers.unwrap()
    };
    for seed in 0..SEEDS {
        assert_eq!(reset(seed, false), reset(seed, true), "seed {seed}");
    }
}

#[test]
fn a_retransmission_changes_no_later_latency() {
    let arrivals = |seed, is_cut: bool| {
        let scene = Scene::new(seed, false);
        let inner = scene.clone();
        let times = scene.world.block_on(EVENTS_MAX, async move {
            let (one, two) = inner.nodes();
            let (mut client, mut server) = inner.pair().await;
            if is_cut {
                inner.network.cut(one, two, 1);
            }
            write(&mut *client, b"first").await.unwrap();
            inner.world.sleep_until(SECOND).await;
            inner.network.heal(one, two, 1);
            inner.world.sleep_until(20 * SECOND).await;
            read_count(&mut *server, 5).await;
            inner.world.sleep_until(21 * SECOND).await;
            let mut times = Vec::new();
            for nth in 0..10 {
                inner.world.sleep_until((22 + nth) * SECOND).await;
                write(&mut *client, b"x").await.unwrap();
                while inner.network.connections()[0].to_server.in_flight != 0 {
                    inner.sleep(1_000).await;
                }
                times.push(inner.world.now());
                read_count(&mut *server, 1).await;
            }
            times
        });
        times.unwrap()
    };
    for seed in 0..SEEDS {
        assert_eq!(arrivals(seed, false), arrivals(seed, true), "seed {seed}");
    }
}

#[test]
fn a_fault_that_ends_leaves_the_others_as_they_were() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(WHOLE);
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        scene.network.cut(one, two, 1);
        scene.network.cut(one, two, 2);
        write(&mut *client, b"x").await.unwrap();
        scene.sleep(SECOND).await;
        assert_eq!(scene.network.heal(one, two, 2), 1);
        scene.sleep(20 * SECOND).await;
        assert_eq!(scene.network.connections()[0].to_server.in_flight, 1);
        scene.network.heal(one, two, 1);
        read_count(&mut *server, 1).await;
        let _listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        scene.network.refuse_connects(two, Duration::from_secs(5), 3);
        scene.network.refuse_connects(two, Duration::from_secs(1), 4);
        scene.sleep(2 * SECOND).await;
        assert!(scene.net(scene.one).connect("two:9").await.is_err());
        assert_eq!((scene.network.strikes(3), scene.network.strikes(4)), (1, 0));
    });
}

#[test]
fn a_heal_ends_a_stall_under_way() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(WHOLE);
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        let (mut other, other_server) = scene.pair().await;
        for (from, to) in [(one, two), (two, one)] {
            scene.network.stall(from, to, Duration::from_secs(600), 1);
        }
        write(&mut *client, b"x").await.unwrap();
        drop(other_server);
        scene.sleep(SECOND).await;
        assert_eq!(scene.network.strikes(1), 2);
        scene.network.heal_all();
        let healed_at = scene.world.now();
        read_count(&mut *server, 1).await;
        assert_eq!(read_all(&mut *other).await.unwrap(), b"");
        assert!(scene.world.now() - healed_at < MILLI);
    });
}

#[test]
fn a_heal_lets_a_stalled_reset_arrive() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        write(&mut *client, b"two").await.unwrap();
        read_count(&mut *server, 1).await;
        scene.network.stall(two, one, Duration::from_secs(600), 1);
        drop(server);
        scene.sleep(SECOND).await;
        scene.network.heal_all();
        let healed_at = scene.world.now();
        assert_eq!(read_all(&mut *client).await, Err(ErrorKind::ConnectionReset));
        assert!(scene.world.now() - healed_at < MILLI);
    });
}

#[test]
fn an_observer_of_arrivals_strikes_when_the_reader_has_the_bytes() {
    for_seeds(|scene| async move {
        let (mut client, mut server) = scene.pair().await;
        let ending = scene.clone();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        scene.network.on_arrival(Box::new(move |event| {
            lock(&log).extend_from_slice(event.bytes);
            if lock(&log).len() == 8 {
                ending.end(ending.two, End::PowerLost);
            }
        }));
        write(&mut *server, b"response").await.unwrap();
        // Its sender has lost its power by then.
        assert_eq!(read_count(&mut *client, 8).await, b"response");
        assert!(!scene.world.is_alive(scene.two));
        assert_eq!(*lock(&seen), b"response");
        scene.network.remove_observers();
    });
}

#[test]
fn a_flip_strikes_records_where_their_checksum_covers_them() {
    use protocol::records::Batch;
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        let batch = records::batch();
        let whole = [b"orders before", &batch[..], b"behind"].concat();
        scene.network.flip_record_bit(one, two, 7);
        write(&mut *client, b"no records in here, and none to come").await.unwrap();
        read_count(&mut *server, 36).await;
        assert_eq!(scene.network.strikes(7), 0);
        // A short write may leave no batch whole: then it waits for the next one.
        let mut struck = 0;
        while scene.network.strikes(7) == 0 {
            write(&mut *client, &whole).await.unwrap();
            let received = read_count(&mut *server, whole.len()).await;
            assert_eq!(received[..13], whole[..13]);
            assert_eq!(received[13 + batch.len()..], whole[13 + batch.len()..]);
            let flipped = Batch::parse(received[13..13 + batch.len()].to_vec().into()).unwrap();
            struck += usize::from(flipped.verify_crc().is_err());
        }
        assert_eq!((struck, scene.network.effects().bits_flipped), (1, 1));
    });
}

mod records {
    use protocol::records::BatchHeader;

    /// A batch without records that has some bytes behind its header.
    pub(super) fn batch() -> Vec<u8> {
        let body = [7; 100];
        let mut bytes = vec![0; 61];
        bytes[8..12].copy_from_slice(&(61 - 12 + 100u32).to_be_bytes());
        bytes[16] = 2;
        bytes.extend_from_slice(&body);
        let header = BatchHeader::parse(&bytes).unwrap();
        let crc = header.checksum(&body);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}
