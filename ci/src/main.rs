//! Everything that CI does, as one program: `cargo ci`.
//!
//! In: names of stages, or of the groups `all` (the default), `quick` and `nightly`. Out: one line
//! per stage with its time, the output of those that fail, and as last line the number of checks and
//! tests that passed, failed or were skipped.
//!
//! Every stage but `generate` and `fix` only reads the tree.
//!
//! Start at [`stages`] for what there is to run, at [`run`] for how it runs.

mod codegen;
mod dependencies;
mod finding;
mod folders;
mod fuzz;
mod layers;
mod links;
mod planted;
mod program;
mod run;
mod stages;
mod tidy;
mod tools;
mod tree;
mod tutorial;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo ci [STAGE | GROUP]...       check everything, or only what is named
       cargo ci list                     the stages and groups
       cargo ci fix                      format, apply clippy's suggestions, generate code
       cargo ci generate [--check]       write (or compare) the generated messages
       cargo ci planted --write          find the planted bugs and write their table
       cargo ci planted NAME...          find these planted bugs";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[&str]) -> Result<ExitCode> {
    match arguments {
        ["help" | "--help" | "-h"] => println!("{USAGE}"),
        ["list"] => print!("{}", stages::list()),
        ["generate"] => codegen::run(false)?,
        ["generate", "--check"] => codegen::run(true)?,
        ["fix"] => stages::fix(&Workspace::open()?)?,
        ["planted", names @ ..] if !names.is_empty() => {
            stages::planted(&Workspace::open()?, names)?;
        }
        names => {
            if let Some(option) = names.iter().find(|name| name.starts_with('-')) {
                bail!("unknown option {option}\n{USAGE}");
            }
            let stages = stages::select(names)?;
            return run::run(&Workspace::open()?, &stages);
        }
    }
    Ok(ExitCode::SUCCESS)
}
