//! The conformance suite of the traits, and that a seed is all that a run depends on.

use std::path::Path;

use runtime::conformance::{CHECKS, run_one};

use super::super::Which;
use super::*;

/// Of the checks those of the network.
fn checks() -> impl Iterator<Item = (&'static str, runtime::conformance::Check)> {
    let all = CHECKS.iter().copied().flatten().copied();
    all.skip_while(|(name, _)| *name != "listen_takes_a_free_port")
}

#[test]
fn conforms() {
    assert_eq!(checks().count(), 31);
    let mut broken = Vec::new();
    for (name, check) in checks() {
        for seed in 0..SEEDS {
            let scene = Scene::new(seed, false);
            let supervisor = Process { node: NodeId::SUPERVISOR, incarnation: 1 };
            let runtime = scene.runtime(supervisor);
            let ended = scene.world.block_on(EVENTS_MAX, async move {
                run_one(&runtime, Path::new("/"), name, check).await;
            });
            if ended.is_err() || !scene.world.panics().is_empty() {
                broken.push(format!("{name} {seed}: {ended:?} {:?}", scene.world.panics()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A few connections with traffic both ways, and a fault of each kind.
async fn traffic(scene: Scene) {
    let (one, two) = scene.nodes();
    let mut tasks = Vec::new();
    for round in 0..10u8 {
        let (mut client, mut server) = scene.pair().await;
        tasks.push(scene.spawn(async move {
            while let Ok(bytes) = read_some(&mut *server).await {
                if bytes.is_empty() || write(&mut *server, &bytes).await.is_err() {
                    break;
                }
            }
        }));
        tasks.push(scene.spawn(async move {
            for _ in 0..20 {
                if write(&mut *client, &[round; 3_000]).await.is_err()
                    || client.read_exact(&mut [0; 3_000]).await.is_err()
                {
                    break;
                }
            }
        }));
    }
    scene.sleep(MILLI / 2).await;
    scene.network.cut(one, two, 1);
    scene.sleep(MILLI / 2).await;
    scene.network.heal(one, two, 1);
    scene.network.reset_connections(one, two, Which::One(1));
    scene.network.flip_bit(two, one, 100, 1);
    scene.network.close_mid_response(two, one, 1);
    for task in tasks {
        task.join().await.unwrap();
    }
}

fn hash(seed: u64) -> (u128, u64) {
    let scene = Scene::new(seed, false);
    scene.world.block_on(EVENTS_MAX, traffic(scene.clone())).unwrap();
    let effects = scene.network.effects();
    assert_eq!((effects.bits_flipped, effects.streams_cut_short), (1, 1), "{effects:?}");
    assert_ne!(effects.segments_held, 0);
    (scene.world.trace().hash(), scene.world.now())
}

#[test]
fn equal_seeds_give_equal_runs() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let first = hash(seed);
        assert_eq!(hash(seed), first);
        assert!(seen.insert(first), "seed {seed} repeats another");
    }
}

/// A connection of `one` and `two`, each with a task of its own, and beside it one of a third node
/// that a fault strikes or not. When segments of the first arrived.
fn arrivals(is_struck: bool) -> Vec<Nanos> {
    let scene = Scene::new(7, true);
    let run = scene.clone();
    let main = async move {
        let three = run.world.start_process(run.world.add_node("three"));
        let (client, server) = (run.clone(), run.clone());
        let serve = async move {
            let mut listener = server.net(server.two).listen("0.0.0.0:10").await.unwrap();
            let mut stream = listener.accept().await.unwrap();
            loop {
                let bytes = read_some(&mut *stream).await.unwrap();
                if bytes.is_empty() {
                    break;
                }
                write(&mut *stream, &bytes).await.unwrap();
            }
        };
        drop(runtime::spawn(&run.runtime(run.two), "serve", serve));
        let ask = async move {
            client.sleep(100 * MILLI).await;
            let mut stream = client.net(client.one).connect("two:10").await.unwrap();
            for round in 0..50 {
                write(&mut *stream, &[round; 50]).await.unwrap();
                read_count(&mut *stream, 50).await;
            }
        };
        drop(runtime::spawn(&run.runtime(run.one), "ask", ask));
        let mut listener = run.net(run.two).listen("0.0.0.0:9").await.unwrap();
        let mut struck = run.net(three).connect("two:9").await.unwrap();
        if is_struck {
            // As after any fault, another connection is opened.
            run.network.reset_connections(three.node, run.two.node, Which::All);
            struck = run.net(three).connect("two:9").await.unwrap();
            listener.accept().await.unwrap();
            run.network.cut(three.node, run.two.node, 1);
        }
        let _server = listener.accept().await.unwrap();
        for round in 0..100 {
            write(&mut *struck, &[round; 51]).await.unwrap();
            run.sleep(10 * MILLI).await;
        }
    };
    scene.world.block_on(EVENTS_MAX, main).unwrap();
    let lines = scene.world.trace().take_lines();
    let arrived = lines.iter().filter(|line| line.text.ends_with(": 50 bytes"));
    arrived.map(|line| line.at).collect()
}

#[test]
fn a_fault_elsewhere_leaves_a_connection_alone() {
    let (calm, struck) = (arrivals(false), arrivals(true));
    assert!(50 <= calm.len(), "{} segments", calm.len());
    assert_eq!(calm, struck);
}
