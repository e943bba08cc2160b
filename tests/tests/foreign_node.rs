//! kafkajs as producer and admin: the matrix, with franz-go reading back, since kafkajs's own
//! consumer knows only groups.

use std::process::ExitCode;

use tests::install::Tool;
use tests::matrix::cases;
use tests::matrix::clients::KAFKAJS;
use tests::suite::run;

fn main() -> ExitCode {
    run(&[Tool::Node, Tool::Npm, Tool::Go], cases(&KAFKAJS))
}
