//! kafkajs: the matrix, with franz-go reading back, since kafkajs's own consumer knows only groups;
//! and its groups.

use std::process::ExitCode;

use tests::group::cases_of;
use tests::group::kinds::KAFKAJS_CLASSIC;
use tests::install::Tool;
use tests::matrix::cases;
use tests::matrix::clients::KAFKAJS;
use tests::suite::run_beside;

fn main() -> ExitCode {
    let mut all = cases(&KAFKAJS);
    all.extend(cases_of(&[&KAFKAJS_CLASSIC]));
    run_beside(4, &[Tool::Node, Tool::Npm, Tool::Go], all)
}
