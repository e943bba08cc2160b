//! All faults at once: whatever strikes, bytes arrive in order and once, nothing hangs when all is
//! well again, and nothing is left behind.

use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::{RandomStream, Rng};

use super::super::{Effects, Which};
use super::*;

const PORT: &str = "two:9";

/// Does one fault that alters no bytes, between two nodes in a drawn order.
fn strike(scene: &Scene, random: &mut RandomStream) {
    let (one, two) = scene.nodes();
    let network = &scene.network;
    let (from, to) = if random.next_u64().is_multiple_of(2) { (one, two) } else { (two, one) };
    let short = Duration::from_micros(random.next_u64() % 200_000);
    match random.next_u64() % 13 {
        0..=3 => {
            let key = random.next_u64();
            network.cut(from, to, key);
            let network = network.clone();
            scene.world.after(short, move |_| _ = network.heal(from, to, key));
        }
        4 => _ = network.stall(from, to, short, random.next_u64()),
        5 => _ = network.reset_connections(from, to, Which::One(random.next_u64())),
        6 => _ = network.close_mid_response(from, to, random.next_u64()),
        7 => _ = network.lose_response(from, to, random.next_u64()),
        8 => _ = network.half_open(from, to, Which::One(random.next_u64())),
        9 => _ = network.refuse_connects(two, short, random.next_u64()),
        10 => _ = network.hang_connects(two, short, random.next_u64()),
        11 => _ = network.one_byte_reads(from, short / 10, random.next_u64()),
        _ => {
            let bytes_per_second = 1_000_000 + random.next_u64() % 100_000_000;
            let window_bytes = 1_000 + (random.next_u64() % 100_000) as usize;
            let profile = LinkProfile { bytes_per_second, window_bytes, ..LinkProfile::LAN };
            network.set_profile(from, to, profile);
        }
    }
}

/// Answers every byte with itself until the connection ends.
async fn echo(mut stream: Box<dyn Stream>) {
    let whole = pattern(20_000);
    let mut seen = 0;
    while let Ok(bytes) = read_some(&mut *stream).await {
        if bytes.is_empty() || write(&mut *stream, &bytes).await.is_err() {
            break;
        }
        assert_eq!(bytes, whole[seen..seen + bytes.len()]);
        seen += bytes.len();
    }
}

/// Connects, and sends and receives a pattern until the connection ends.
async fn client(scene: Scene, len: usize) -> bool {
    let Ok(stream) = scene.net(scene.one).connect(PORT).await else { return false };
    let (mut read, mut write) = stream.split();
    let writing = scene.spawn(async move {
        let whole = pattern(len);
        for part in whole.chunks(4_000) {
            if write.write_all(part).await.is_err() {
                break;
            }
        }
        write
    });
    let mut received = Vec::new();
    let mut buffer = vec![0; 10_000];
    while received.len() < len {
        match read.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
        }
    }
    assert_eq!(received, pattern(received.len()));
    drop(read);
    writing.task.abort();
    received.len() == len
}

/// Serves on the port with as many processes as it takes: they are killed, or lose power.
async fn serve(scene: Scene, process: Process) {
    let mut listener = scene.net(process).listen("0.0.0.0:9").await.unwrap();
    while let Ok(stream) = listener.accept().await {
        drop(runtime::spawn(&scene.runtime(process), "echo", echo(stream)));
    }
}

fn start(scene: &Scene, process: Process) {
    drop(runtime::spawn(&scene.runtime(process), "serve", serve(scene.clone(), process)));
}

async fn storm(scene: Scene, finished: Arc<AtomicUsize>) {
    let mut random = scene.world.rng("storm", 0);
    start(&scene, scene.two);
    let mut clients = Vec::new();
    for round in 0..150 {
        for _ in 0..random.next_u64() % 3 {
            let len = 1 + (random.next_u64() % 20_000) as usize;
            // Of a connection that is silent nobody hears, but by a limit of his own.
            let (own, client) = (scene.clone(), client(scene.clone(), len));
            clients.push(scene.spawn(async move {
                runtime::select! {
                    is_done = client => is_done,
                    () = own.sleep(200 * SECOND) => false,
                }
            }));
        }
        strike(&scene, &mut random);
        scene.sleep(random.next_u64() % (40 * MILLI)).await;
        let end = if random.next_u64().is_multiple_of(2) { End::Killed } else { End::PowerLost };
        match scene.world.process(scene.two.node) {
            Some(process) if round % 25 == 20 => scene.end(process, end),
            None if round % 25 == 24 => {
                let process = scene.world.start_process(scene.two.node);
                start(&scene, process);
            }
            _ => {}
        }
    }
    scene.network.heal_all();
    scene.network.set_default_profile(PLAIN);
    for task in clients {
        if task.join().await.unwrap() {
            finished.fetch_add(1, Ordering::Relaxed);
        }
    }
    // Who was silenced is given up in the end.
    scene.sleep(2_000 * SECOND).await;
    if let Some(process) = scene.world.process(scene.two.node) {
        scene.end(process, End::Killed);
    }
    assert_eq!(scene.network.connections(), []);
}

#[test]
fn bytes_survive_everything_in_order() {
    let mut all = Effects::default();
    let mut finished = 0;
    for seed in 0..SEEDS / 2 {
        let run = || {
            let scene = Scene::new(seed, false);
            let finished = Arc::new(AtomicUsize::new(0));
            let storm = storm(scene.clone(), Arc::clone(&finished));
            let ended = scene.world.block_on(EVENTS_MAX, storm);
            assert_eq!((ended, scene.world.panics()), (Ok(()), Vec::new()), "seed {seed}");
            let hash = scene.world.trace().hash();
            (scene.network.effects(), finished.load(Ordering::Relaxed), hash)
        };
        let first = run();
        assert_eq!(run(), first, "seed {seed}");
        finished += first.1;
        all.segments_held += first.0.segments_held;
        all.segments_stalled += first.0.segments_stalled;
        all.streams_cut_short += first.0.streams_cut_short;
        all.responses_lost += first.0.responses_lost;
        all.connects_hung += first.0.connects_hung;
        all.connects_refused_by_fault += first.0.connects_refused_by_fault;
        all.resets_lost += first.0.resets_lost;
        all.single_byte_reads += first.0.single_byte_reads;
    }
    assert!(300 < finished, "{finished} clients were done");
    let counts = [
        all.segments_held,
        all.segments_stalled,
        all.streams_cut_short,
        all.responses_lost,
        all.connects_hung,
        all.connects_refused_by_fault,
        all.resets_lost,
        all.single_byte_reads,
    ];
    assert!(!counts.contains(&0), "a fault that never strikes: {all:?}");
}
