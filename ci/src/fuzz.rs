//! Coverage-guided fuzzing of the protocol: every target of `src/protocol/fuzz` for some time.
//!
//! The instrumentation is rustc's own, so that the stable toolchain does. Seeds are what the tests
//! of the fuzz bodies feed them; the corpus stays in the target directory between runs.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::program::Programs;
use crate::workspace::{Workspace, cargo, host};

const TARGETS: &[&str] = &["frames", "messages", "batches"];

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// Fuzzes every target for so many seconds.
///
/// # Errors
/// A target does not build, or finds something; its input is among the output.
pub fn run(workspace: &Workspace, programs: &Programs, seconds_each: u64) -> Result<()> {
    let host = host()?;
    let target = workspace.target().join("fuzz");
    let corpus = target.join("corpus");
    fs::create_dir_all(&corpus)?;
    let mut seeds = cargo();
    seeds.current_dir(&workspace.root).env("FUZZ_CORPUS", &corpus);
    programs.run(seeds.args(["test", "--workspace", "--test", "fuzz"]))?;
    let mut build = cargo();
    build.current_dir(workspace.root.join("src/protocol/fuzz"));
    // The triple has to be named, so that build scripts are not instrumented.
    build.args(["build", "--release", "--target", &host, "--target-dir"]).arg(&target);
    programs.run(build.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    for name in TARGETS {
        let inputs = corpus.join(name);
        fs::create_dir_all(&inputs)?;
        let mut fuzz = Command::new(target.join(&host).join("release").join(name));
        fuzz.current_dir(&target).arg(format!("-max_total_time={seconds_each}"));
        programs.run(fuzz.arg("-print_final_stats=1").arg(&inputs))?;
    }
    Ok(())
}
