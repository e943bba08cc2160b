//! franz-go and sarama: the matrix, and each reading what the other wrote.

use std::process::ExitCode;

use tests::install::Tool;
use tests::matrix::clients::{FRANZ_GO, SARAMA};
use tests::matrix::{cases, cross_reading};
use tests::suite::run;

fn main() -> ExitCode {
    let mut all = cases(&FRANZ_GO);
    all.extend(cases(&SARAMA));
    all.extend(cross_reading(&FRANZ_GO, &[&SARAMA]));
    all.extend(cross_reading(&SARAMA, &[&FRANZ_GO]));
    run(&[Tool::Go], all)
}
