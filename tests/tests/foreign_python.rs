//! librdkafka under confluent-kafka, and kafka-python: the matrix, each reading what the other
//! wrote, groups of either.

use std::process::ExitCode;

use tests::group::cases::rebalance_cases;
use tests::group::cases_of;
use tests::group::kinds::{
    KAFKA_PYTHON_CLASSIC, KAFKA_PYTHON_COOPERATIVE, LIBRDKAFKA_CLASSIC, LIBRDKAFKA_CONSUMER,
    LIBRDKAFKA_COOPERATIVE,
};
use tests::install::Tool;
use tests::matrix::clients::{CONFLUENT, KAFKA_PYTHON};
use tests::matrix::{cases, cross_reading};
use tests::suite::run_beside;

fn main() -> ExitCode {
    let mut all = cases(&CONFLUENT);
    all.extend(cases(&KAFKA_PYTHON));
    all.extend(cross_reading(&CONFLUENT, &[&KAFKA_PYTHON]));
    all.extend(cross_reading(&KAFKA_PYTHON, &[&CONFLUENT]));
    all.extend(cases_of(&[&LIBRDKAFKA_CLASSIC, &LIBRDKAFKA_CONSUMER, &KAFKA_PYTHON_CLASSIC]));
    for kind in [&LIBRDKAFKA_COOPERATIVE, &KAFKA_PYTHON_COOPERATIVE] {
        all.extend(rebalance_cases(kind));
    }
    run_beside(4, &[Tool::Python], all)
}
