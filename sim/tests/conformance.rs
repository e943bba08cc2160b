//! The conformance suite of the runtime traits, in simulated worlds: every check, under many seeds.

#![allow(clippy::unwrap_used, reason = "a check tells by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use runtime::conformance::{CHECKS, Check, run_one};
use sim::machine::Machines;
use sim::world::World;

const SEEDS: u64 = 20;
const EVENTS_MAX: u64 = 10_000_000;

/// Runs one check in a world of its own; says what went wrong.
fn check(seed: u64, name: &'static str, check: Check) -> Result<u128, String> {
    let world = World::new(seed, false);
    let machines = Machines::new(&world);
    let runtime = machines.supervisor();
    let scratch = PathBuf::from("/scratch");
    let main = async move {
        runtime.disk.create_dir_all(&scratch).await.unwrap();
        run_one(&runtime, &scratch, name, check).await;
    };
    let ended = world.block_on(EVENTS_MAX, main);
    if let Some(panic) = world.panics().first() {
        // A check may make a task of its own panic; that of the supervisor is its verdict.
        if ended.is_err() || panic.task == "main" {
            return Err(format!("{name}, seed {seed}: {}", panic.message));
        }
    }
    ended.map_err(|stuck| format!("{name}, seed {seed}: {stuck}"))?;
    Ok(world.trace().hash())
}

/// On a fresh thread, as every run of the simulator.
fn check_alone(seed: u64, name: &'static str, run: Check) -> Result<u128, String> {
    let thread = std::thread::spawn(move || check(seed, name, run));
    thread.join().unwrap_or_else(|_| Err(format!("{name}, seed {seed}: the world panicked")))
}

fn all() -> impl Iterator<Item = (&'static str, Check)> {
    CHECKS.iter().copied().flatten().copied()
}

#[test]
fn a_simulated_machine_keeps_every_promise_of_the_traits() {
    let broken: Vec<String> = all()
        .flat_map(|(name, run)| (0..SEEDS).map(move |seed| check_alone(seed, name, run)))
        .filter_map(Result::err)
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let hashes =
        |seed| -> Vec<_> { all().map(|(name, run)| check_alone(seed, name, run)).collect() };
    assert_eq!(hashes(7), hashes(7));
    let differ = hashes(7).iter().zip(&hashes(8)).filter(|(a, b)| a != b).count();
    assert!(differ > CHECKS.len(), "only {differ} checks depend on the seed at all");
    let shared = Arc::new(hashes(7));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || assert_eq!(hashes(7), *shared, "side by side"))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
