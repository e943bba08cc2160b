//! How links behave: latency, bandwidth, back-pressure, profiles.

use super::*;

/// Writes until the stream takes no more.
async fn fill(stream: &mut dyn Stream) -> usize {
    let mut taken = 0;
    loop {
        let mut pinned = Pin::new(&mut *stream);
        let write = std::future::poll_fn(|context| {
            Poll::Ready(pinned.as_mut().poll_write(context, &[7; 10_000]))
        });
        match write.await {
            Poll::Ready(count) => taken += count.unwrap(),
            Poll::Pending => return taken,
        }
    }
}

#[test]
fn a_segment_takes_its_latency() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(PLAIN);
        let begun = scene.world.now();
        let (mut client, mut server) = scene.pair().await;
        let connected = scene.world.now();
        assert!((2 * 100_000..1_000_000).contains(&(connected - begun)), "{connected}");
        write(&mut *client, b"x").await.unwrap();
        read_count(&mut *server, 1).await;
        assert!(100_000 <= scene.world.now() - connected);
    });
}

#[test]
fn latencies_have_their_median_and_a_tail() {
    let world = World::new(1, false);
    let mut stream = world.rng("test", 1);
    let profile = LinkProfile::LAN;
    let mut drawn: Vec<Nanos> = (0..20_000).map(|_| profile.latency(&mut stream)).collect();
    drawn.sort_unstable();
    assert!(profile.latency_nanos_min <= drawn[0]);
    let median = drawn[drawn.len() / 2];
    assert!(median.abs_diff(profile.latency_nanos_median) < 3_000, "median {median}");
    assert!(drawn[drawn.len() * 9 / 10] < 250_000);
    let last = drawn[drawn.len() - 1];
    assert!((5 * MILLI..22 * MILLI).contains(&last), "last {last}");
}

#[test]
fn a_slow_link_takes_its_time() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        scene.network.set_profile(one, two, LinkProfile { bytes_per_second: 100_000, ..PLAIN });
        let begun = scene.world.now();
        let task = scene.spawn(async move {
            write(&mut *client, &pattern(200_000)).await.unwrap();
            client
        });
        assert_eq!(read_count(&mut *server, 200_000).await, pattern(200_000));
        let took = scene.world.now() - begun;
        assert!((2 * SECOND..2 * SECOND + 50 * MILLI).contains(&took), "{took}");
        task.join().await.unwrap();
    });
}

#[test]
fn connections_of_a_link_share_its_bandwidth() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut first, mut first_server) = scene.pair().await;
        let (mut second, mut second_server) = scene.pair().await;
        scene.network.set_profile(one, two, LinkProfile { bytes_per_second: 100_000, ..PLAIN });
        let begun = scene.world.now();
        write(&mut *first, &[1; 50_000]).await.unwrap();
        write(&mut *second, &[2; 50_000]).await.unwrap();
        read_count(&mut *first_server, 50_000).await;
        assert!(scene.world.now() - begun < 600 * MILLI);
        read_count(&mut *second_server, 50_000).await;
        assert!(SECOND <= scene.world.now() - begun);
    });
}

#[test]
fn a_full_window_makes_the_writer_wait_for_the_reader() {
    for_seeds(|scene| async move {
        scene.network.set_default_profile(PLAIN);
        let (mut client, mut server) = scene.pair().await;
        assert!(fill(&mut *client).await <= PLAIN.window_bytes);
        scene.sleep(SECOND).await;
        while scene.network.connections()[0].to_server.unread < PLAIN.window_bytes {
            fill(&mut *client).await;
            scene.sleep(MILLI).await;
        }
        let waiting = scene.spawn(async move {
            write(&mut *client, &[1; 1_000]).await.unwrap();
            client
        });
        scene.sleep(SECOND).await;
        assert!(!waiting.is_finished());
        let read_at = scene.world.now();
        read_count(&mut *server, 1_000).await;
        let client = waiting.join().await.unwrap();
        // The word of the read takes a latency to the writer.
        assert!((100_000..2 * MILLI).contains(&(scene.world.now() - read_at)));
        drop(client);
        assert_eq!(read_all(&mut *server).await.unwrap().len(), PLAIN.window_bytes);
    });
}

/// Writes more than a window while `block` is on the way back, and ends when `unblock` has passed.
async fn write_without_answer(scene: Scene, block: fn(&Scene), unblock: fn(&Scene)) {
    scene.network.set_default_profile(PLAIN);
    let (mut client, mut server) = scene.pair().await;
    block(&scene);
    let writing = scene.spawn(async move {
        write(&mut *client, &pattern(200_000)).await.unwrap();
        drop(client);
    });
    let reading = scene.spawn(async move { read_all(&mut *server).await });
    scene.sleep(5 * SECOND).await;
    // What was sent arrives, and no word of it.
    assert!(!writing.is_finished());
    assert_eq!(scene.network.effects().bytes, PLAIN.window_bytes as u64);
    unblock(&scene);
    writing.join().await.unwrap();
    assert_eq!(reading.join().await.unwrap().unwrap(), pattern(200_000));
}

#[test]
fn a_writer_whose_peer_can_not_answer_waits() {
    fn cut(scene: &Scene) {
        scene.network.cut(scene.two.node, scene.one.node, 1);
    }
    fn heal(scene: &Scene) {
        scene.network.heal(scene.two.node, scene.one.node, 1);
    }
    fn stall(scene: &Scene) {
        scene.network.stall(scene.two.node, scene.one.node, Duration::from_secs(6), 1);
    }
    for_seeds(|scene| write_without_answer(scene, cut, heal));
    for_seeds(|scene| write_without_answer(scene, stall, |_| {}));
}

#[test]
fn short_reads_and_writes_are_drawn() {
    for_seeds(|scene| async move {
        let profile = LinkProfile { short_reads_one_in: 1, short_writes_one_in: 1, ..PLAIN };
        scene.network.set_default_profile(profile);
        let (mut client, mut server) = scene.pair().await;
        let writing = scene.spawn(async move {
            write(&mut *client, &pattern(300_000)).await.unwrap();
        });
        assert_eq!(read_all(&mut *server).await.unwrap(), pattern(300_000));
        writing.join().await.unwrap();
        let effects = scene.network.effects();
        assert!(effects.short_reads != 0 && effects.short_writes != 0, "{effects:?}");
        assert!(scene.network.connections().len() <= 1);
    });
}

#[test]
fn names_and_addresses() {
    for_seeds(|scene| async move {
        let (one, two) = (scene.net(scene.one), scene.net(scene.two));
        let mut all = two.listen("[::]:9092").await.unwrap();
        assert_eq!(all.local_addr().unwrap().to_string(), "[::]:9092");
        let mut client = one.connect("two:9092").await.unwrap();
        assert_eq!(client.peer_addr().unwrap().to_string(), "10.0.0.2:9092");
        assert!(client.local_addr().unwrap().to_string().starts_with("10.0.0.1:"));
        let mut server = all.accept().await.unwrap();
        assert_eq!(server.local_addr().unwrap(), client.peer_addr().unwrap());
        write(&mut *client, b"hello").await.unwrap();
        assert_eq!(read_count(&mut *server, 5).await, b"hello");
        for own in ["localhost:9092", "127.0.0.1:9092", "10.0.0.2:9092", "0.0.0.0:9092"] {
            two.connect(own).await.unwrap();
            all.accept().await.unwrap();
        }
        let kind = |result: io::Result<Box<dyn Stream>>| result.err().unwrap().kind();
        assert_eq!(kind(one.connect("localhost:9092").await), io::ErrorKind::ConnectionRefused);
        assert_eq!(kind(one.connect("nobody:9092").await), io::ErrorKind::NotFound);
        assert_eq!(kind(one.connect("8.8.8.8:9092").await), io::ErrorKind::NetworkUnreachable);
        let taken = two.listen("10.0.0.2:9092").await.err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let foreign = two.listen("10.0.0.1:9092").await.err().unwrap();
        assert_eq!(foreign.kind(), io::ErrorKind::AddrNotAvailable);
        // Another port of its own address only.
        let _own = two.listen("10.0.0.2:9093").await.unwrap();
        let _loopback = two.listen("127.0.0.1:9093").await.unwrap();
        assert!(one.connect("two:9093").await.is_ok());
    });
}

#[test]
fn a_full_backlog_lets_connects_wait() {
    for_seeds(|scene| async move {
        let mut listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        let net = scene.net(scene.one);
        let mut clients = Vec::new();
        for _ in 0..1024 {
            clients.push(net.connect("two:9").await.unwrap());
        }
        let connect = scene.spawn(async move { net.connect("two:9").await.is_ok() });
        scene.sleep(500 * MILLI).await;
        assert!(!connect.is_finished());
        listener.accept().await.unwrap();
        assert_eq!(connect.join().await, Ok(true));
    });
}

#[test]
fn closed_connections_leave_nothing_behind() {
    for_seeds(|scene| async move {
        for _ in 0..20 {
            let (mut client, server) = scene.pair().await;
            write(&mut *client, b"x").await.unwrap();
            drop(server);
            drop(client);
        }
        assert_eq!(scene.network.connections(), []);
    });
}

#[test]
fn a_write_travels_in_segments() {
    let mut counts = std::collections::BTreeSet::new();
    let mut partly = 0;
    for seed in 0..SEEDS {
        let scene = Scene::new(seed, false);
        let inner = scene.clone();
        let main = async move {
            let (one, two) = inner.nodes();
            let profile = LinkProfile { short_writes_one_in: 0, ..LinkProfile::LAN };
            inner.network.set_profile(one, two, profile);
            let (mut client, mut server) = inner.pair().await;
            write(&mut *client, &pattern(200_000)).await.unwrap();
            while inner.network.effects().segments < 2 {
                inner.sleep(1_000).await;
            }
            let arrived = inner.network.effects().bytes;
            assert_eq!(read_count(&mut *server, 200_000).await, pattern(200_000));
            (inner.network.effects().segments, arrived)
        };
        let (segments, arrived) = scene.world.block_on(EVENTS_MAX, main).unwrap();
        counts.insert(segments);
        // Behind a slow segment all arrive at once.
        partly += usize::from(arrived < 200_000);
        assert_eq!(scene.world.panics(), []);
    }
    assert!(5 < counts.len() && 10 < partly, "{counts:?} {partly}");
}

#[test]
fn small_writes_mostly_stay_whole() {
    let world = World::new(1, false);
    let cuts = |len, key| LinkProfile::LAN.cuts(len, &mut world.rng("test", key));
    let whole = (0..1_000).filter(|key| cuts(100, *key).len() == 1).count();
    assert!((900..990).contains(&whole), "{whole}");
    assert!((0..1_000).any(|key| cuts(100, key)[0] <= 16));
    assert!((0..1_000).all(|key| cuts(100_000, key).iter().sum::<usize>() == 100_000));
    assert!((0..1_000).all(|key| cuts(100_000, key).iter().all(|piece| *piece <= 64 * 1024)));
}
