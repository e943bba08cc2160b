//! Listener containers of spring-kafka: the cases of groups, with a program that acknowledges each
//! record after it was processed.

use std::process::ExitCode;

use tests::group::cases_of;
use tests::group::kinds::{SPRING_CLASSIC, SPRING_CONSUMER};
use tests::install::Tool;
use tests::suite::run_beside;

fn main() -> ExitCode {
    run_beside(2, &[Tool::Java, Tool::Maven], cases_of(&[&SPRING_CLASSIC, &SPRING_CONSUMER]))
}
