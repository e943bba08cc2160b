//! How connections end when processes and machines do.

use std::io::ErrorKind;

use super::*;

#[test]
fn a_killed_process_ends_its_streams() {
    for_seeds(|scene| async move {
        let (mut client, mut server) = scene.pair().await;
        write(&mut *server, b"last words").await.unwrap();
        scene.end(scene.two, End::Killed);
        drop(server);
        assert_eq!(read_all(&mut *client).await.unwrap(), b"last words");
        // What it sends now is for nobody.
        let kind = loop {
            match write(&mut *client, b"hello?").await {
                Ok(()) => scene.sleep(MILLI / 10).await,
                Err(kind) => break kind,
            }
        };
        assert_eq!(kind, ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_killed_process_with_unread_bytes_resets() {
    for_seeds(|scene| async move {
        let (mut client, mut server) = scene.pair().await;
        write(&mut *client, b"request").await.unwrap();
        read_count(&mut *server, 1).await;
        // Before the world ends it, as well as after.
        scene.network.process_ended(scene.two, End::Killed);
        scene.world.end_process(scene.two.node);
        assert_eq!(read_all(&mut *client).await, Err(ErrorKind::ConnectionReset));
        // Told once; then there is only an end.
        assert_eq!(read_all(&mut *client).await.unwrap(), b"");
        assert_eq!(write(&mut *client, b"x").await, Err(ErrorKind::BrokenPipe));
    });
}

#[test]
fn a_killed_process_refuses_and_its_successor_listens() {
    for_seeds(|scene| async move {
        let _listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        let _waiting = scene.net(scene.one).connect("two:9").await.unwrap();
        scene.end(scene.two, End::Killed);
        let refused = scene.net(scene.one).connect("two:9").await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let again = scene.world.start_process(scene.two.node);
        let mut listener = scene.net(again).listen("0.0.0.0:9").await.unwrap();
        scene.net(scene.one).connect("two:9").await.unwrap();
        listener.accept().await.unwrap();
    });
}

#[test]
fn who_waits_to_be_accepted_is_reset_with_the_listener() {
    for_seeds(|scene| async move {
        let listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        let mut client = scene.net(scene.one).connect("two:9").await.unwrap();
        drop(listener);
        assert_eq!(read_all(&mut *client).await, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn streams_of_a_dead_process_do_nothing() {
    for_seeds(|scene| async move {
        let (mut client, mut server) = scene.pair().await;
        scene.end(scene.two, End::PowerLost);
        let mut buffer = [0];
        for _ in 0..2 {
            let read = std::pin::pin!(server.read(&mut buffer));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(read.poll(&mut context).is_pending());
        }
        drop(server);
        let silence = scene.spawn(async move { read_some(&mut *client).await });
        scene.sleep(100 * SECOND).await;
        assert!(!silence.is_finished());
    });
}

#[test]
fn a_loss_of_power_is_heard_by_nobody() {
    for_seeds(|scene| async move {
        let (client, server) = scene.pair().await;
        let (mut read, mut write) = client.split();
        let waiting = scene.spawn(async move { read.read(&mut [0; 10]).await });
        scene.end(scene.two, End::PowerLost);
        drop(server);
        // It takes what fits, and connects hang.
        write.write_all(b"request").await.unwrap();
        let lost_at = scene.world.now();
        let net = scene.net(scene.one);
        let connect = scene.spawn(async move { net.connect("two:9").await.err().unwrap().kind() });
        scene.sleep(10 * SECOND).await;
        assert!(!waiting.is_finished() && !connect.is_finished());
        assert_eq!(connect.join().await.unwrap(), ErrorKind::TimedOut);
        let took = scene.world.now() - lost_at;
        assert!((127 * SECOND..128 * SECOND).contains(&took), "{took}");
        // The machine is up: the next retransmission is answered.
        assert!(!waiting.is_finished());
        let booted_at = scene.world.now();
        scene.network.node_booted(scene.two.node);
        let end = waiting.join().await.unwrap();
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(scene.world.now() - booted_at < 9 * SECOND);
        let refused = scene.net(scene.one).connect("two:9").await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_write_to_a_rebooted_machine_is_answered_by_a_reset() {
    for_seeds(|scene| async move {
        let (mut client, server) = scene.pair().await;
        scene.end(scene.two, End::PowerLost);
        drop(server);
        scene.sleep(SECOND).await;
        let again = scene.world.start_process(scene.two.node);
        let _net = scene.net(again);
        scene.sleep(60 * SECOND).await;
        // Nothing was sent, so nothing was heard.
        assert_eq!(scene.network.effects().ends_reset, 0);
        let written_at = scene.world.now();
        write(&mut *client, b"request").await.unwrap();
        assert_eq!(read_all(&mut *client).await, Err(ErrorKind::ConnectionReset));
        assert!(scene.world.now() - written_at < 100 * MILLI);
    });
}

#[test]
fn a_loss_of_power_takes_what_was_not_sent_yet() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        scene.network.set_default_profile(PLAIN);
        scene.network.set_profile(two, one, LinkProfile { bytes_per_second: 100_000, ..PLAIN });
        write(&mut *server, &[1; 1_000]).await.unwrap();
        write(&mut *server, &[2; 1_000]).await.unwrap();
        scene.sleep(10 * MILLI + 50_000).await;
        scene.end(scene.two, End::PowerLost);
        drop(server);
        assert_eq!(read_count(&mut *client, 1_000).await, [1; 1_000]);
        scene.sleep(100 * SECOND).await;
        assert_eq!(scene.network.effects().bytes, 1_000);
        assert_eq!(scene.network.effects().bytes_lost, 1_000);
    });
}

#[test]
fn a_loss_of_power_takes_what_a_killed_process_left_to_send() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        scene.network.cut(two, one, 1);
        write(&mut *server, b"last words").await.unwrap();
        scene.end(scene.two, End::Killed);
        scene.sleep(SECOND).await;
        scene.network.power_lost(two);
        scene.network.node_booted(two);
        scene.network.heal(two, one, 1);
        let silence = scene.spawn(async move { read_some(&mut *client).await });
        scene.sleep(100 * SECOND).await;
        assert!(!silence.is_finished());
    });
}

#[test]
fn a_connect_that_is_dropped_leaves_nothing() {
    for_seeds(|scene| async move {
        let mut listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        let net = scene.net(scene.one);
        for wait in [1_000, 60_000, 100_000, 150_000, 250_000] {
            {
                let mut connect = net.connect("two:9");
                let sleep = scene.world.sleep(Duration::from_nanos(wait));
                runtime::select! {
                    _ = sleep => {}
                    _ = &mut connect => {}
                }
            }
            scene.sleep(100 * MILLI).await;
        }
        // The server may have accepted; it hears of the end.
        let accepted = scene.network.connections().len();
        for _ in 0..accepted {
            let mut server = listener.accept().await.unwrap();
            let end = read_all(&mut *server).await;
            assert!(end == Ok(Vec::new()) || end == Err(ErrorKind::ConnectionReset), "{end:?}");
        }
        assert_eq!(scene.network.connections(), []);
    });
}

#[test]
fn a_paused_process_still_takes_connections_and_bytes() {
    for_seeds(|scene| async move {
        let mut listener = scene.net(scene.two).listen("0.0.0.0:9").await.unwrap();
        scene.world.pause(scene.two.node);
        let mut client = scene.net(scene.one).connect("two:9").await.unwrap();
        write(&mut *client, b"early").await.unwrap();
        scene.sleep(SECOND).await;
        scene.world.resume(scene.two.node);
        let mut server = listener.accept().await.unwrap();
        assert_eq!(read_count(&mut *server, 5).await, b"early");
    });
}

#[test]
fn a_reset_that_answers_data_is_sent_until_it_is_heard() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, server) = scene.pair().await;
        scene.end(scene.two, End::Killed);
        drop(server);
        scene.sleep(SECOND).await;
        scene.network.cut(two, one, 1);
        write(&mut *client, b"for nobody").await.unwrap();
        scene.sleep(SECOND).await;
        assert!(scene.network.effects().resets_lost != 0);
        scene.network.heal(two, one, 1);
        scene.sleep(3 * SECOND).await;
        assert_eq!(write(&mut *client, b"x").await, Err(ErrorKind::BrokenPipe));
    });
}

#[test]
fn a_close_with_bytes_unread_forgets_what_it_had_to_send() {
    for_seeds(|scene| async move {
        let (one, two) = scene.nodes();
        let (mut client, mut server) = scene.pair().await;
        scene.network.set_default_profile(PLAIN);
        scene.network.set_profile(two, one, LinkProfile { bytes_per_second: 1_000, ..PLAIN });
        write(&mut *client, b"request").await.unwrap();
        read_count(&mut *server, 1).await;
        for _ in 0..3 {
            write(&mut *server, &[1; 1_000]).await.unwrap();
        }
        drop(server);
        assert_eq!(scene.network.effects().bytes_lost, 3_000);
        assert_eq!(read_all(&mut *client).await, Err(ErrorKind::ConnectionReset));
        assert!(scene.world.now() < SECOND);
    });
}
