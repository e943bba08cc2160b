//! Faults: what can be done to the network, at any time.
//!
//! What is drawn depends on the key that names the fault, not on the faults before it. Each call
//! tells what it struck at once. What it strikes later is counted by
//! [`Network::effects`]; of a cut, [`Network::heal`] tells the sum.

use std::time::Duration;

use runtime::{RandomStream, Rng};

use crate::world::{Kind, Nanos, NodeId, nanos, trace};

use super::Network;
use super::connection::{Phase, Side};
use super::info::Struck;
use super::link::{Ambush, LinkProfile};
use super::state::State;

/// A lost response is followed by a reset after this, and up to so much more.
const RESET_AFTER_MIN: Nanos = 1_000_000;
const RESET_AFTER_SPREAD: Nanos = 2_000_000_000;

/// Which of the connections between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// One, drawn by the key that names the fault.
    One(u64),
    /// All.
    All,
}

/// How links behave.
impl Network {
    /// Sets how links behave of which nothing else was said.
    pub fn set_default_profile(&self, profile: LinkProfile) {
        self.act(|state| (state.profile, state.healed_profile) = (profile, profile));
    }

    /// Sets how one link behaves from now on. Segments on their way arrive when they would have.
    pub fn set_profile(&self, from: NodeId, to: NodeId, profile: LinkProfile) {
        self.act(|state| state.link(from, to).profile = Some(profile));
    }

    /// Links of which nothing else was said are at most as good as `profile`, until a heal.
    pub fn slow_links(&self, profile: LinkProfile) {
        let text = || format!("links are slow: {profile:?}");
        self.fault(None, text, |state| state.profile = state.profile.at_worst(&profile));
    }

    /// How a link behaves.
    pub fn profile(&self, from: NodeId, to: NodeId) -> LinkProfile {
        self.act(|state| state.profile_of(from, to))
    }
}

/// Faults of links.
impl Network {
    /// Nothing gets through in this direction any more: what arrives during the cut is sent again
    /// until the heal, connects hang. Tells what is on its way.
    pub fn cut(&self, from: NodeId, to: NodeId, key: u64) -> Struck {
        self.fault(
            Some(to),
            || format!("cut {from} -> {to}"),
            |state| {
                state.link(from, to).cuts.insert(key);
                state.in_flight(from, to)
            },
        )
    }

    /// Ends the cut that `key` names; when no other lies on the link, held segments arrive at their
    /// next retransmission. Returns how many segments and connects the cut has held.
    pub fn heal(&self, from: NodeId, to: NodeId, key: u64) -> u64 {
        self.fault(
            Some(to),
            || format!("heal {from} -> {to}"),
            |state| {
                state.link(from, to).cuts.remove(&key);
                state.strikes.get(&key).copied().unwrap_or(0)
            },
        )
    }

    /// Ends all cuts, isolations, stalls and everything else that holds or strikes segments and
    /// connects. What a stall held arrives at once. Connections that are silent stay so.
    pub fn heal_all(&self) {
        self.fault(
            None,
            || "heal everything".to_owned(),
            |state| {
                let now = state.now();
                state.profile = state.healed_profile;
                for (_, host) in state.hosts() {
                    host.is_isolated = false;
                    for spells in [&mut host.refusals, &mut host.hangs, &mut host.single_bytes] {
                        spells.end(now);
                    }
                }
                let mut stalled = Vec::new();
                for (path, link) in &mut state.links {
                    link.ambushes.clear();
                    link.cuts.clear();
                    if link.stalls.end(now) {
                        stalled.push(*path);
                    }
                }
                for path in stalled {
                    state.end_stall(path);
                }
            },
        );
    }

    /// Cuts `node` off from all others, both ways, until [`Network::rejoin`].
    pub fn isolate(&self, node: NodeId) -> Struck {
        self.fault(
            Some(node),
            || format!("isolate {node}"),
            |state| {
                state.host(node).is_isolated = true;
                state.struck(|from, to| from != to && (from == node || to == node))
            },
        )
    }

    /// Ends an isolation.
    pub fn rejoin(&self, node: NodeId) {
        self.fault(
            Some(node),
            || format!("rejoin {node}"),
            |state| {
                state.host(node).is_isolated = false;
            },
        );
    }

    /// Everything on the link waits for so long, and then arrives at once. Tells what is on its
    /// way.
    pub fn stall(&self, from: NodeId, to: NodeId, duration: Duration, key: u64) -> Struck {
        self.fault(
            Some(to),
            || format!("stall {from} -> {to} for {duration:?}"),
            |state| {
                let until = state.now().saturating_add(nanos(duration));
                state.link(from, to).stalls.add(until, key);
                state.in_flight(from, to)
            },
        )
    }

    /// The next segment of at least `bytes_min` bytes on the link arrives with a drawn bit
    /// flipped. Tells the connections it may strike.
    pub fn flip_bit(&self, from: NodeId, to: NodeId, bytes_min: usize, key: u64) -> Struck {
        let text = || format!("flip a bit {from} -> {to}");
        self.ambush(from, to, key, text, |random| Ambush::FlipBit {
            bytes_min: bytes_min.max(1),
            at: random.next_u64(),
        })
    }

    /// Of the next write on the link that holds a whole batch of records a drawn bit is flipped, where
    /// the batch's checksum covers it: elsewhere one topic can become another, which nothing in the
    /// protocol tells.
    pub fn flip_record_bit(&self, from: NodeId, to: NodeId, key: u64) -> Struck {
        let text = || format!("flip a bit of a record {from} -> {to}");
        let draw = |random: &mut RandomStream| Ambush::FlipRecordBit { at: random.next_u64() };
        self.ambush(from, to, key, text, draw)
    }

    /// Of the next segment on the link a drawn part arrives, followed by the end of the stream; the
    /// sender is told nothing until it writes more, and then by a reset. Tells the connections it
    /// may strike.
    pub fn close_mid_response(&self, from: NodeId, to: NodeId, key: u64) -> Struck {
        let text = || format!("end in mid-segment {from} -> {to}");
        self.ambush(from, to, key, text, |random| Ambush::EndEarly { at: random.next_u64() })
    }

    /// The next request that a client at `to` has sent to `from` arrives; from then on the server
    /// at `from` is not heard on that connection, and a drawn time later both ends are reset.
    /// Tells the connections it may strike.
    pub fn lose_response(&self, from: NodeId, to: NodeId, key: u64) -> Struck {
        let text = || format!("lose a response {from} -> {to}");
        // It strikes requests, which go the other way.
        self.ambush(to, from, key, text, |random| Ambush::LoseResponse {
            reset_after: RESET_AFTER_MIN + random.next_u64() % RESET_AFTER_SPREAD,
        })
    }

    fn ambush(
        &self,
        from: NodeId,
        to: NodeId,
        key: u64,
        text: impl Fn() -> String,
        draw: impl FnOnce(&mut RandomStream) -> Ambush,
    ) -> Struck {
        self.fault(Some(to), text, |state| {
            let mut random = state.fault_stream(key);
            let ambush = draw(&mut random);
            state.link(from, to).ambushes.push((key, ambush));
            state.in_flight(from, to)
        })
    }
}

/// Faults of connections.
impl Network {
    /// Resets both ends of connections between two nodes, whoever opened them; what is on its way
    /// is lost.
    pub fn reset_connections(&self, a: NodeId, b: NodeId, which: Which) -> Struck {
        self.fault(
            Some(b),
            || format!("reset {a} - {b}: {which:?}"),
            |state| state.each_between(a, b, which, State::reset_by_fault),
        )
    }

    /// As [`Network::reset_connections`], for one connection.
    pub fn reset_connection(&self, connection: u64) -> Struck {
        self.fault(
            None,
            || format!("reset #{connection}"),
            |state| state.reset_by_fault(connection),
        )
    }

    /// Silences connections between two nodes for ever, in both directions: nobody hears of an end
    /// or a reset.
    pub fn half_open(&self, a: NodeId, b: NodeId, which: Which) -> Struck {
        self.fault(
            Some(b),
            || format!("half-open {a} - {b}: {which:?}"),
            |state| {
                let key = match which {
                    Which::One(key) => Some(key),
                    Which::All => None,
                };
                state.each_between(a, b, which, |state, number| state.silence_by_fault(number, key))
            },
        )
    }

    /// As [`Network::half_open`], for one connection.
    pub fn half_open_connection(&self, connection: u64) -> Struck {
        self.fault(
            None,
            || format!("half-open #{connection}"),
            |state| state.silence_by_fault(connection, None),
        )
    }
}

/// Faults of nodes.
impl Network {
    /// Connects to `node` are refused for so long, whoever listens. Tells which are on their way.
    pub fn refuse_connects(&self, node: NodeId, duration: Duration, key: u64) -> Struck {
        self.fault(
            Some(node),
            || format!("{node} refuses connects for {duration:?}"),
            |state| {
                let until = state.now().saturating_add(nanos(duration));
                state.host(node).refusals.add(until, key);
                state.connects_to(node)
            },
        )
    }

    /// Connects to `node` are not answered for so long. Tells which are on their way.
    pub fn hang_connects(&self, node: NodeId, duration: Duration, key: u64) -> Struck {
        self.fault(
            Some(node),
            || format!("connects to {node} hang for {duration:?}"),
            |state| {
                let until = state.now().saturating_add(nanos(duration));
                state.host(node).hangs.add(until, key);
                state.connects_to(node)
            },
        )
    }

    /// Each read on `node` returns one byte for so long. Tells the connections of the node and
    /// what is on its way to it.
    pub fn one_byte_reads(&self, node: NodeId, duration: Duration, key: u64) -> Struck {
        self.fault(
            Some(node),
            || format!("one-byte reads on {node} for {duration:?}"),
            |state| {
                let until = state.now().saturating_add(nanos(duration));
                state.host(node).single_bytes.add(until, key);
                state.struck(|_, to| to == node)
            },
        )
    }

    fn fault<T>(
        &self,
        node: Option<NodeId>,
        text: impl Fn() -> String,
        step: impl FnOnce(&mut State) -> T,
    ) -> T {
        let words = [trace::digest(text().as_bytes())];
        self.world().record(Kind::Fault, node, &words, text);
        self.act(step)
    }
}

impl State {
    /// The connections on a link, and what is on its way there.
    fn in_flight(&self, from: NodeId, to: NodeId) -> Struck {
        self.struck(|a, b| (a, b) == (from, to))
    }

    /// The connections on the links that `is_hit`, and what is on its way there.
    fn struck(&self, is_hit: impl Fn(NodeId, NodeId) -> bool) -> Struck {
        let mut struck = Struck::default();
        for connection in self.connections.values() {
            let hit = Side::BOTH.into_iter().filter(|side| {
                let (from, to) = connection.path(*side);
                is_hit(from, to)
            });
            let mut is_struck = false;
            for side in hit {
                is_struck = true;
                struck.segments += connection.pipes[side].flight.len();
            }
            struck.connections += usize::from(is_struck);
        }
        struck
    }

    /// The connects on their way to a node.
    fn connects_to(&self, node: NodeId) -> Struck {
        let connects = self.connections.values().filter(|connection| {
            let sockets = &connection.sockets;
            sockets.server.node == node && sockets.server.phase == Phase::Absent
        });
        let count = connects.count();
        Struck { connections: count, segments: count }
    }

    /// Does `strike` to connections between two nodes that are not over at either end.
    fn each_between(
        &mut self,
        a: NodeId,
        b: NodeId,
        which: Which,
        strike: impl Fn(&mut State, u64) -> Struck,
    ) -> Struck {
        let live = self.connections.iter().filter(|(_, connection)| {
            connection.is_between(a, b)
                && Side::BOTH.iter().any(|side| connection.sockets[*side].phase == Phase::Open)
                && !Side::BOTH.iter().all(|side| connection.pipes[*side].is_silent)
        });
        let mut live: Vec<u64> = live.map(|(number, _)| *number).collect();
        if let Which::One(key) = which
            && !live.is_empty()
        {
            let drawn = self.fault_stream(key).next_u64() % live.len() as u64;
            live = vec![live[drawn as usize]];
        }
        let mut struck = Struck::default();
        for number in live {
            struck += strike(self, number);
        }
        struck
    }

    fn reset_by_fault(&mut self, number: u64) -> Struck {
        let struck = self.struck_connection(number);
        self.effects.connections_reset += struck.connections as u64;
        self.sever(number);
        struck
    }

    fn silence_by_fault(&mut self, number: u64, key: Option<u64>) -> Struck {
        let struck = self.struck_connection(number);
        self.effects.connections_silenced += struck.connections as u64;
        self.silence(number, key);
        struck
    }

    fn struck_connection(&self, number: u64) -> Struck {
        let Some(connection) = self.connections.get(&number) else { return Struck::default() };
        let segments = Side::BOTH.iter().map(|side| connection.pipes[*side].flight.len()).sum();
        Struck { connections: 1, segments }
    }
}
