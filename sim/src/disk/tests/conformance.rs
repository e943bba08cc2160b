//! The promises of the traits, and that a seed tells everything.

use std::path::Path;

use runtime::conformance::{CHECKS, run_one};

use super::Machine;

/// The lists of `CHECKS` that need nothing but a disk: of files and of names.
const FILE_CHECKS: usize = 4;
const DISK_CHECKS: usize = 5;

fn run_checks(seed: u64, list: usize) -> u128 {
    let machine = Machine::new(seed);
    let process = machine.world.start_process(machine.node);
    let runtime = machine.runtime(process);
    machine.run(async move {
        let scratch = Path::new("/scratch");
        runtime.disk.create_dir_all(scratch).await.unwrap();
        for (name, check) in CHECKS[list] {
            run_one(&runtime, scratch, name, *check).await;
        }
    });
    machine.trace_hash()
}

#[test]
fn the_lists_are_those_of_the_disk() {
    assert_eq!(CHECKS[FILE_CHECKS][0].0, "file_reads_what_was_written");
    assert_eq!(CHECKS[DISK_CHECKS][0].0, "open_obeys_its_mode");
}

#[test]
fn files_conform() {
    for seed in 0..20 {
        run_checks(seed, FILE_CHECKS);
    }
}

#[test]
fn names_conform() {
    for seed in 0..20 {
        run_checks(seed, DISK_CHECKS);
    }
}

#[test]
fn a_seed_repeats() {
    for seed in 0..3 {
        assert_eq!(run_checks(seed, FILE_CHECKS), run_checks(seed, FILE_CHECKS));
        assert_eq!(run_checks(seed, DISK_CHECKS), run_checks(seed, DISK_CHECKS));
    }
    assert_ne!(run_checks(0, DISK_CHECKS), run_checks(1, DISK_CHECKS));
}
