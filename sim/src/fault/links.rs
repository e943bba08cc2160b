//! Faults of the network: links, connections, connects.

use std::time::Duration;

use super::Faults;
use crate::net::Which;
use crate::plan::{Action, Cut};
use crate::world::NodeId;

impl Faults {
    pub(super) fn act_on_network(&self, action: &Action, key: u64) -> bool {
        let network = self.machines.network();
        let ends =
            |client: u32, broker: u32| Some((self.client(client)?, self.cluster.node(broker)));
        let struck = match action {
            Action::Cut { client, broker, cut, ms } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                return self.cut(client, broker, *cut, *ms, key);
            }
            Action::Stall { client, broker, ms } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                let duration = Duration::from_millis(*ms);
                let mut struck = network.stall(client, broker, duration, key);
                struck += network.stall(broker, client, duration, key);
                struck
            }
            Action::Reset { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.reset_connections(client, broker, Which::All)
            }
            Action::Fin { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.close_mid_response(broker, client, key)
            }
            Action::HalfOpen { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.half_open(client, broker, Which::One(key))
            }
            Action::LoseResponse { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.lose_response(broker, client, key)
            }
            Action::Refuse { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.refuse_connects(node, Duration::from_millis(*ms), key);
                return true;
            }
            Action::Hang { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.hang_connects(node, Duration::from_millis(*ms), key);
                return true;
            }
            Action::OneByteReads { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.one_byte_reads(node, Duration::from_millis(*ms), key);
                return true;
            }
            _ => return false,
        };
        !struck.is_nothing()
    }

    fn cut(&self, client: NodeId, broker: NodeId, cut: Cut, ms: u64, key: u64) -> bool {
        let network = self.machines.network().clone();
        let links: &[(NodeId, NodeId)] = match cut {
            Cut::Both => &[(client, broker), (broker, client)],
            Cut::ToBroker => &[(client, broker)],
            Cut::ToClient => &[(broker, client)],
        };
        let links = links.to_vec();
        let mut is_open = false;
        for (from, to) in &links {
            is_open |= !network.cut(*from, *to, key).is_nothing();
        }
        self.world.after(Duration::from_millis(ms), move |_| {
            for (from, to) in links {
                network.heal(from, to, key);
            }
        });
        is_open
    }
}
