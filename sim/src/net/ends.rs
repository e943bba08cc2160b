//! How connections end: closing, resetting, processes that die and machines that lose power.

use std::io;

use crate::world::{NodeId, Process};

use super::connection::{Connection, Payload, Phase, Side};
use super::state::{Cause, Event, State};
use super::transfer::{RETRY_NANOS_MAX, RETRY_NANOS_MIN};

/// After so many answers that were lost who waits for one gives up: some 15 minutes (Linux: 15
/// retries).
const ANSWERS_MAX: u32 = 120;

/// How a process ended, as its sockets have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself or by a signal: the kernel closes what it had open.
    Killed,
    /// With its machine: nobody says anything to anybody.
    PowerLost,
}

impl State {
    /// Sends the end of `side`'s stream, once.
    pub(super) fn shut(&mut self, number: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let socket = &mut connection.sockets[side];
        if socket.phase == Phase::Open && !socket.is_shut {
            socket.is_shut = true;
            self.launch(number, side, Payload::Fin);
        }
    }

    /// Closes `side` as its application wants: with an end, or with a reset when it did not read
    /// what had arrived.
    pub(super) fn close(&mut self, number: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let socket = &mut connection.sockets[side];
        if socket.phase.is_over() {
            return;
        }
        let (was, has_unread) = (socket.phase, socket.unread != 0);
        if was == Phase::Open && !has_unread {
            self.shut(number, side);
        }
        if was == Phase::Open && has_unread {
            // A reset is not told in order: what was not sent yet never will be, as Linux has it.
            self.purge_unsent(number, side);
        }
        self.bury(number, side, Phase::Closed);
        if was == Phase::Open && has_unread {
            self.plan_reset(number, side.other(), Cause::Closed);
            self.record_end(number, side, "closed with bytes unread: reset");
        } else {
            self.record_end(number, side, "closed");
        }
        self.forget_if_over(number);
    }

    /// Takes a socket from its application.
    fn bury(&mut self, number: u64, side: Side, phase: Phase) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let socket = &mut connection.sockets[side];
        socket.phase = phase;
        socket.inbox.clear();
        socket.unread = 0;
        self.outbox.discard.extend(socket.reader.take());
        self.outbox.discard.extend(socket.writer.take());
    }

    /// Removes a connection that no application holds at either end.
    fn forget_if_over(&mut self, number: u64) {
        let Some(connection) = self.connections.get(&number) else { return };
        if !Side::BOTH.iter().all(|side| connection.sockets[*side].phase.is_over()) {
            return;
        }
        let client = &connection.sockets.client;
        let (node, port) = (client.node, client.address.port());
        self.host(node).ports.remove(&port);
        self.connections.remove(&number);
    }

    /// `side` answers what is not for it with a reset.
    pub(super) fn send_reset(&mut self, number: u64, side: Side) {
        self.plan_reset(number, side.other(), Cause::Answer { lost: 0 });
    }

    /// Plans that a reset reaches `victim`.
    pub(super) fn plan_reset(&mut self, number: u64, victim: Side, cause: Cause) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = connection.path(victim.other());
        let profile = self.profile_of(from, to);
        let mut draws = self.stream("net reset", connection.key, victim);
        let latency = profile.latency(&mut draws);
        self.plan(self.now() + latency, Event::Reset { number, victim, cause });
    }

    pub(super) fn on_reset(&mut self, number: u64, victim: Side, cause: Cause) {
        let Some(connection) = self.connections.get(&number) else { return };
        let path = connection.path(victim.other());
        let stalled_until = self.stalled_until(path);
        let is_forged = cause == Cause::Forged;
        if !is_forged && self.now() < stalled_until {
            self.link(path.0, path.1).stalled_resets.push((number, victim, cause));
            self.plan(stalled_until, Event::Reset { number, victim, cause });
            return;
        }
        if is_forged || self.passes(number, victim.other()) {
            self.break_socket(number, victim, io::ErrorKind::ConnectionReset);
            return;
        }
        self.effects.resets_lost += 1;
        let Some(connection) = self.connections.get(&number) else { return };
        if connection.sockets[victim].phase == Phase::Connecting {
            // It never hears that it was refused, and asks again.
            self.launch(number, Side::Client, Payload::Syn);
            self.retransmit(number, Side::Client);
        } else if let Cause::Answer { lost } = cause {
            self.answer_again(number, victim, lost);
        }
    }

    /// The reset that answered something of `victim` was lost: it is sent again when `victim` has
    /// repeated what it sent, later each time.
    fn answer_again(&mut self, number: u64, victim: Side, lost: u32) {
        let Some(connection) = self.connections.get(&number) else { return };
        if connection.sockets[victim].phase.is_over() {
            return;
        }
        let wait = (RETRY_NANOS_MIN << lost.min(16)).min(RETRY_NANOS_MAX);
        if ANSWERS_MAX <= lost {
            self.effects.timeouts += 1;
            self.break_socket(number, victim, io::ErrorKind::TimedOut);
            return;
        }
        let cause = Cause::Answer { lost: lost + 1 };
        self.plan(self.now() + wait, Event::Reset { number, victim, cause });
    }

    /// Ends `side` with an error that its application has yet to hear.
    pub(super) fn break_socket(&mut self, number: u64, side: Side, kind: io::ErrorKind) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let Connection { sockets, pipes, .. } = &mut **connection;
        let socket = &mut sockets[side];
        let is_reset = kind == io::ErrorKind::ConnectionReset;
        let kind = match socket.phase {
            Phase::Connecting if is_reset => io::ErrorKind::ConnectionRefused,
            Phase::Connecting => kind,
            // After the end of the stream only writing is an error, as Linux has it.
            Phase::Open if socket.has_end && is_reset => io::ErrorKind::BrokenPipe,
            Phase::Open => kind,
            _ => return,
        };
        socket.error = Some(kind);
        socket.phase = Phase::Broken;
        self.outbox.wake.extend(socket.reader.take());
        self.outbox.wake.extend(socket.writer.take());
        let lost = pipes.client.lose_flight() + pipes.server.lose_flight();
        self.effects.bytes_lost += lost as u64;
        self.effects.ends_reset += u64::from(is_reset);
        let what = match kind {
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::TimedOut => "timed out",
            _ => "reset",
        };
        self.record_end(number, side, what);
    }

    /// A fault resets both ends; what was on its way is lost.
    pub(super) fn sever(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        for side in Side::BOTH {
            let pipe = &mut connection.pipes[side];
            pipe.is_silent = true;
            self.effects.bytes_lost += pipe.lose_flight() as u64;
        }
        for side in Side::BOTH {
            self.plan_reset(number, side, Cause::Forged);
        }
    }

    /// The kernel closes what a process had open.
    pub(super) fn process_killed(&mut self, process: Process) {
        for id in self.listeners_of(|owner| owner == process) {
            self.unlisten(id);
        }
        for (number, side) in self.sockets_of(process.node) {
            let connection = self.connections.get(&number);
            if connection.is_some_and(|it| it.sockets[side].owner == Some(process)) {
                self.close(number, side);
            }
        }
    }

    /// The kernel is gone, too.
    pub(super) fn power_lost(&mut self, node: NodeId) {
        self.host(node).is_up = false;
        for id in self.listeners_of(|owner| owner.node == node) {
            self.remove_listener(id);
        }
        for (number, side) in self.sockets_of(node) {
            self.lose(number, side);
        }
    }

    fn listeners_of(&self, is_owner: impl Fn(Process) -> bool) -> Vec<u64> {
        let listeners = self.listeners.iter().filter(|(_, it)| is_owner(it.owner));
        listeners.map(|(id, _)| *id).collect()
    }

    fn sockets_of(&self, node: NodeId) -> Vec<(u64, Side)> {
        let sides = self.connections.iter().flat_map(|(number, connection)| {
            Side::BOTH.map(|side| (*number, side, connection.sockets[side].node))
        });
        sides.filter(|(.., at)| *at == node).map(|(number, side, _)| (number, side)).collect()
    }

    /// The machine of `side` is without power: what it has not sent yet is gone, with all it knew.
    fn lose(&mut self, number: u64, side: Side) {
        let Some(connection) = self.connections.get(&number) else { return };
        if connection.sockets[side].phase == Phase::Absent {
            return;
        }
        self.purge_unsent(number, side);
        self.bury(number, side, Phase::Lost);
        self.record_end(number, side, "lost with its machine");
        self.forget_if_over(number);
    }

    /// Forgets what `side` has not sent yet; what is on the wire arrives.
    fn purge_unsent(&mut self, number: u64, side: Side) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let pipe = &mut connection.pipes[side];
        if pipe.attempts != 0 {
            self.effects.bytes_lost += pipe.lose_flight() as u64;
        }
        let left = pipe.flight.iter().take_while(|segment| segment.departs <= now).count();
        for segment in pipe.flight.drain(left..) {
            self.effects.bytes_lost += segment.payload.len() as u64;
        }
    }
}
