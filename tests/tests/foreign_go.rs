//! franz-go and sarama: the matrix, each reading what the other wrote, groups of either.

use std::process::ExitCode;

use tests::group::cases::rebalance_cases;
use tests::group::cases_of;
use tests::group::kinds::{FRANZ_CLASSIC, FRANZ_CONSUMER, FRANZ_COOPERATIVE, SARAMA_CLASSIC};
use tests::install::Tool;
use tests::matrix::clients::{FRANZ_GO, SARAMA};
use tests::matrix::{cases, cross_reading};
use tests::suite::run_beside;

fn main() -> ExitCode {
    let mut all = cases(&FRANZ_GO);
    all.extend(cases(&SARAMA));
    all.extend(cross_reading(&FRANZ_GO, &[&SARAMA]));
    all.extend(cross_reading(&SARAMA, &[&FRANZ_GO]));
    all.extend(cases_of(&[&FRANZ_CLASSIC, &FRANZ_CONSUMER, &SARAMA_CLASSIC]));
    all.extend(rebalance_cases(&FRANZ_COOPERATIVE));
    run_beside(4, &[Tool::Go], all)
}
