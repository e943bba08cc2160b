//! Faults of the network: links, connections, connects.

use std::time::Duration;

use super::Faults;
use super::proof::Proof;
use crate::net::{LinkProfile, Which};
use crate::plan::{Action, Cut, Way};
use crate::world::NodeId;

impl Faults {
    pub(super) fn act_on_network(&self, at: usize, action: &Action, key: u64) -> bool {
        let network = self.machines.network();
        match action {
            Action::Refuse { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.refuse_connects(node, Duration::from_millis(*ms), key);
            }
            Action::Hang { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.hang_connects(node, Duration::from_millis(*ms), key);
            }
            Action::OneByteReads { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.one_byte_reads(node, Duration::from_millis(*ms), key);
            }
            Action::SlowLinks { latency_us, bytes_per_second, window_bytes } => {
                let before = network.effects().segments;
                let is_worse = LinkProfile::LAN.latency_nanos_median < latency_us * 1_000
                    || *bytes_per_second < LinkProfile::LAN.bytes_per_second;
                network.slow_links(LinkProfile {
                    latency_nanos_min: latency_us * 500,
                    latency_nanos_median: latency_us * 1_000,
                    bytes_per_second: *bytes_per_second,
                    window_bytes: *window_bytes as usize,
                    ..LinkProfile::LAN
                });
                if is_worse {
                    self.prove(at, Proof::Segments(network.clone(), before));
                }
                return false;
            }
            Action::Cut { client, broker, .. }
            | Action::Stall { client, broker, .. }
            | Action::Reset { client, broker }
            | Action::Fin { client, broker }
            | Action::HalfOpen { client, broker }
            | Action::LoseResponse { client, broker }
            | Action::BitFlip { client, broker, .. } => {
                let Some(client) = self.client(*client) else { return false };
                let broker = self.cluster.node(*broker);
                if self.act_on_link(action, client, broker, key) {
                    return true;
                }
            }
            _ => return false,
        }
        self.prove(at, Proof::Network(network.clone(), key));
        false
    }

    /// Does it; whether that had its effect at once.
    fn act_on_link(&self, action: &Action, client: NodeId, broker: NodeId, key: u64) -> bool {
        let network = self.machines.network();
        match action {
            Action::Cut { cut, ms, .. } => self.cut(client, broker, *cut, *ms, key),
            Action::Stall { ms, .. } => {
                let duration = Duration::from_millis(*ms);
                network.stall(client, broker, duration, key);
                network.stall(broker, client, duration, key);
            }
            Action::Reset { .. } => {
                return !network.reset_connections(client, broker, Which::All).is_nothing();
            }
            Action::Fin { .. } => _ = network.close_mid_response(broker, client, key),
            Action::HalfOpen { .. } => _ = network.half_open(client, broker, Which::One(key)),
            Action::LoseResponse { .. } => _ = network.lose_response(broker, client, key),
            Action::BitFlip { way: Way::Request, .. } => {
                network.flip_record_bit(client, broker, key);
            }
            Action::BitFlip { way: Way::Response, .. } => {
                network.flip_record_bit(broker, client, key);
            }
            _ => {}
        }
        false
    }

    fn cut(&self, client: NodeId, broker: NodeId, cut: Cut, ms: u64, key: u64) {
        let network = self.machines.network().clone();
        let links: &[(NodeId, NodeId)] = match cut {
            Cut::Both => &[(client, broker), (broker, client)],
            Cut::ToBroker => &[(client, broker)],
            Cut::ToClient => &[(broker, client)],
        };
        for (from, to) in links {
            network.cut(*from, *to, key);
        }
        let links = links.to_vec();
        self.world.after(Duration::from_millis(ms), move |_| {
            for (from, to) in links {
                network.heal(from, to, key);
            }
        });
    }
}
