//! The simulator: klamm's broker and clients, unchanged, in a world made from a seed.
//!
//! From the inside out: [`world`] executes; [`runtime`], [`net`] and [`disk`] are the runtime traits
//! over it; [`machine`] puts them together. A [`scenario`] says what is played; [`plan`] draws its
//! faults, [`fault`] makes them strike; [`cluster`] runs the brokers, [`workload`] the clients.
//! [`run`] plays one seed and judges it ([`judge`], [`audit`]), [`sweep`] many, [`shrink`] makes a failing one small,
//! and [`report`] explains one.
//!
//! Start at [`run::run`].

pub mod audit;
pub mod cluster;
pub mod damage;
pub mod disk;
pub mod durable;
pub mod fault;
mod groups;
pub mod inspect;
pub mod judge;
pub mod log;
pub mod machine;
pub mod net;
pub mod plan;
pub mod probes;
pub mod report;
mod rest;
pub mod run;
pub mod runtime;
pub mod scenario;
pub mod shrink;
mod stage;
pub mod sweep;
pub mod workload;
pub mod world;
