//! `klamm-sim`: runs scenarios by seed, replays, shrinks, promotes and explains what it finds.
//!
//! Exit code 0: nothing found; 3: a violation; 2: wrong use; 1: anything else.

mod command;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quiet_panics_of_runs();
    let cli = command::Cli::parse();
    match command::execute(&cli) {
        Ok(command::Ended::Clean) => ExitCode::SUCCESS,
        Ok(command::Ended::Violation) => ExitCode::from(3),
        Err(error) => {
            eprintln!("klamm-sim: {error:#}");
            if command::is_misuse(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// As a shell has it for a program that is ended by a closed pipe.
const CLOSED_PIPE: i32 = 141;

/// A panic inside a run is a finding: it is in the report, and need not be on stderr as well. One of
/// `println!` says that whoever reads has seen enough, as in `klamm-sim replay … | head`.
fn quiet_panics_of_runs() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to stdout")) {
            std::process::exit(CLOSED_PIPE);
        }
        let is_of_run = std::thread::current().name() == Some(sim::sweep::SEED_THREAD);
        if !is_of_run || std::env::var_os("KLAMM_SIM_PANICS").is_some() {
            usual(info);
        }
    }));
}
