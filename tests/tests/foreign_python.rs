//! librdkafka under confluent-kafka, and kafka-python: the matrix, and each reading what the other
//! wrote.

use std::process::ExitCode;

use tests::install::Tool;
use tests::matrix::clients::{CONFLUENT, KAFKA_PYTHON};
use tests::matrix::{cases, cross_reading};
use tests::suite::run;

fn main() -> ExitCode {
    let mut all = cases(&CONFLUENT);
    all.extend(cases(&KAFKA_PYTHON));
    all.extend(cross_reading(&CONFLUENT, &[&KAFKA_PYTHON]));
    all.extend(cross_reading(&KAFKA_PYTHON, &[&CONFLUENT]));
    run(&[Tool::Python], all)
}
