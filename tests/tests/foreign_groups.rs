//! Groups of several libraries: all in one classic group, both protocols in one, and the storm that
//! kills members and the broker while a producer writes.

use std::process::ExitCode;

use tests::group::cases::{migration, mixed, storm};
use tests::group::kinds::{
    FRANZ_CLASSIC, FRANZ_CONSUMER, JAVA_CLASSIC, JAVA_CONSUMER, JAVA_COOPERATIVE,
    KAFKA_PYTHON_CLASSIC, KAFKAJS_CLASSIC, LIBRDKAFKA_CLASSIC, LIBRDKAFKA_CONSUMER, SARAMA_CLASSIC,
};
use tests::install::Tool;
use tests::suite::run_beside;

fn main() -> ExitCode {
    let cases = vec![
        mixed([&JAVA_CLASSIC, &LIBRDKAFKA_CLASSIC, &KAFKA_PYTHON_CLASSIC]),
        mixed([&FRANZ_CLASSIC, &SARAMA_CLASSIC, &JAVA_CLASSIC]),
        migration(&JAVA_CLASSIC, &JAVA_CONSUMER),
        migration(&JAVA_COOPERATIVE, &JAVA_CONSUMER),
        migration(&LIBRDKAFKA_CLASSIC, &JAVA_CONSUMER),
        storm([&JAVA_CLASSIC, &LIBRDKAFKA_CLASSIC], 8),
        storm([&JAVA_CONSUMER, &LIBRDKAFKA_CONSUMER], 8),
        storm([&FRANZ_CLASSIC, &SARAMA_CLASSIC, &KAFKA_PYTHON_CLASSIC], 5),
        storm([&FRANZ_CONSUMER], 4),
        storm([&KAFKAJS_CLASSIC], 4),
    ];
    run_beside(3, &[Tool::Java, Tool::Maven, Tool::Python, Tool::Go], cases)
}
