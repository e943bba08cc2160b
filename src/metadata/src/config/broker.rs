//! The configs of brokers, all of Kafka 4.3's and klamm's own.
//!
//! In: a name. Out: its [`Definition`], which says whether klamm uses it, needs no such thing, or does
//! not have it yet. What Kafka 4.0 took away is known too, so that an old file still starts a broker.
//!
//! Where klamm's default is not Kafka's: `node.id` (1), `process.roles` (both) and
//! `controller.listener.names` (none), which Kafka wants to be told, and `log.dir` (`klamm-data`,
//! since /tmp loses data at the next boot).

mod cluster;
mod group;
mod log;
mod node;
mod security;

use crate::config::definition::Definition;

/// All configs of brokers, in the order of no use to anyone but look-ups.
fn tables() -> [&'static [Definition]; 5] {
    [&cluster::CLUSTER, &group::GROUP, &log::LOG, &node::NODE, &security::SECURITY]
}

/// All configs of brokers.
pub(crate) fn broker_definitions() -> impl Iterator<Item = &'static Definition> {
    tables().into_iter().flatten()
}

/// The broker config of that name.
pub fn broker_definition(name: &str) -> Option<&'static Definition> {
    tables().into_iter().find_map(|table| {
        let at = table.binary_search_by(|definition| definition.name.cmp(name)).ok()?;
        Some(&table[at])
    })
}

const NO_ZOOKEEPER: &str = "Kafka 4.0 took it away with ZooKeeper; klamm never had it";
const OLD_FORMATS: &str = "Kafka 4.0 took it away; klamm reads and writes the current formats";

/// Why a config that Kafka once had needs no replacement.
pub(crate) fn removed_setting(name: &str) -> Option<&'static str> {
    if name.starts_with("zookeeper.") || name.starts_with("password.encoder.") {
        return Some(NO_ZOOKEEPER);
    }
    match name {
        "broker.id.generation.enable"
        | "reserved.broker.max.id"
        | "control.plane.listener.name" => Some(NO_ZOOKEEPER),
        "inter.broker.protocol.version"
        | "log.message.format.version"
        | "log.message.downconversion.enable"
        | "log.message.timestamp.difference.max.ms"
        | "offsets.commit.required.acks" => Some(OLD_FORMATS),
        "auto.include.jmx.reporter" => Some("metrics are at klamm.http.listener"),
        "delegation.token.master.key" => Some("its name is delegation.token.secret.key now"),
        _ => None,
    }
}
