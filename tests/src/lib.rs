//! Tests of the real binary with clients that nobody here wrote, and with real crashes.
//!
//! In: the `klamm` binary, and the toolchains of the foreign clients (`clients/`), whose libraries
//! are fetched from their registries into `target/foreign`. Out: the test programs in `tests/`.
//!
//! The lists of cases say what a Kafka user may expect, so they pass against Apache Kafka too:
//! `KLAMM_TEST_PEER=kafka` starts one, `KLAMM_TEST_BOOTSTRAP=host:port` uses one that runs.
//! A missing toolchain skips what needs it by name; with `CI=true` it is a failure.
//!
//! Start at [`suite`] for how a list of cases runs, at [`matrix`] for what is in it.

pub mod child;
pub mod driver;
pub mod group;
pub mod install;
pub mod ledger;
pub mod load;
pub mod matrix;
pub mod record;
pub mod server;
pub mod suite;
