//! Segments on their way: sending, arriving, retransmission, and room for more.
//!
//! What can not get through is sent again later and later, as TCP does: after a heal it arrives at
//! its next attempt, with everything behind it in order.

use std::io;

use bytes::Bytes;
use runtime::Rng;

use crate::world::film::Scene;
use crate::world::{Kind, Nanos, NodeId, trace};

use super::connection::{Payload, Phase, Segment, Side};
use super::link::{Ambush, Link};
use super::records::first_checked_range;
use super::state::{Arrival, Cause, Event, State};

const MILLI: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MILLI;

/// The first retransmission comes after this, and up to as much again.
pub(super) const RETRY_NANOS_MIN: Nanos = 200 * MILLI;
/// The next ones after twice as long each. Linux goes on up to two minutes; a run is shorter than
/// that, and a heal should be felt in it.
pub(super) const RETRY_NANOS_MAX: Nanos = 8 * SECOND;
/// Data that was not acknowledged for so long ends its connection (Linux: 15 retries).
const SILENCE_NANOS_MAX: Nanos = 924 * SECOND;
/// A connect is tried again after one second, two, four; the seventh wait, after 127 seconds
/// together, is the last (Linux's `tcp_syn_retries`).
const OPENING_RETRY_NANOS: Nanos = SECOND;
const OPENING_ATTEMPTS_MAX: u32 = 7;

impl State {
    /// Takes what an application wrote; false when the process ended on the way.
    pub(super) fn send(&mut self, number: u64, sender: Side, bytes: Bytes) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else { return false };
        if connection.sockets[sender].phase != Phase::Open {
            return false;
        }
        let pipe = &mut connection.pipes[sender];
        pipe.unacknowledged += bytes.len();
        if pipe.is_severed {
            // Its peer has no such connection any more, and says so.
            self.effects.bytes_lost += bytes.len() as u64;
            self.plan_reset(number, sender, Cause::Forged);
            return true;
        }
        let path = connection.path(sender);
        let bytes = match self.links.get(&path) {
            Some(link) if link.wants_records() => self.with_record_flipped(path, bytes),
            _ => bytes,
        };
        self.launch_cut(number, sender, bytes);
        true
    }

    /// The bytes with a bit flipped where the checksum of a batch of records covers it; as they are
    /// when there is no whole batch in them.
    fn with_record_flipped(&mut self, path: (NodeId, NodeId), bytes: Bytes) -> Bytes {
        let Some(range) = first_checked_range(&bytes) else { return bytes };
        let flip = self.links.get_mut(&path).and_then(Link::take_record_flip);
        let Some((key, at)) = flip else { return bytes };
        let at = range.start as u64 * 8 + at % (range.len() as u64 * 8);
        let mut flipped = bytes.to_vec();
        flipped[(at / 8) as usize] ^= 1 << (at % 8);
        self.effects.bits_flipped += 1;
        self.credit([key], 1);
        let (from, to) = path;
        self.world.record(Kind::Connection, Some(to), &[at], || {
            format!("{from} -> {to}: bit {} of byte {} flipped", at % 8, at / 8)
        });
        flipped.into()
    }

    /// Sends bytes on their way, in as many segments as are drawn.
    fn launch_cut(&mut self, number: u64, sender: Side, mut bytes: Bytes) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = connection.path(sender);
        let profile = self.profile_of(from, to);
        if profile.may_cut(bytes.len()) {
            // By the place in the stream: what was sent before decides nothing here.
            let position = connection.pipes[sender].sent;
            let mut draws = self.stream_at("net cuts", connection, sender, position);
            for len in profile.cuts(bytes.len(), &mut draws) {
                let piece = bytes.split_to(len);
                self.launch(number, sender, Payload::Data(piece));
            }
        } else {
            self.launch(number, sender, Payload::Data(bytes));
        }
    }

    /// Sends a segment on its way.
    pub(super) fn launch(&mut self, number: u64, sender: Side, payload: Payload) {
        let now = self.now();
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = connection.path(sender);
        let profile = self.profile_of(from, to);
        let departs = self.link(from, to).depart(now, payload.len(), profile.bytes_per_second);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let pipe = &mut connection.pipes[sender];
        // Behind a slower one it arrives when that does.
        let arrives = departs + profile.latency(&mut pipe.latency);
        let position = pipe.sent;
        pipe.sent += payload.len() as u64;
        pipe.flight.push_back(Segment { payload, position, departs, arrives });
        if pipe.attempts != 0 {
            self.count_held(number, sender, 1);
        }
        self.plan(arrives, Event::Arrive { number, sender });
    }

    pub(super) fn on_arrive(&mut self, number: u64, sender: Side) {
        while let Some(payload) = self.take_due(number, sender) {
            match payload {
                Payload::Syn => self.on_syn(number),
                Payload::SynAck => self.on_syn_ack(number),
                Payload::Data(bytes) => self.on_data(number, sender, bytes),
                Payload::Fin => self.on_fin(number, sender),
            }
        }
    }

    /// The next segment of a pipe that has arrived.
    fn take_due(&mut self, number: u64, sender: Side) -> Option<Payload> {
        let now = self.now();
        let connection = self.connections.get(&number)?;
        let pipe = &connection.pipes[sender];
        let front = pipe.flight.front()?;
        if now < front.arrives {
            return None;
        }
        let stalled_until = self.stalled_until(connection.path(sender));
        if now < stalled_until {
            self.on_stalled(number, sender, stalled_until);
            return None;
        }
        let is_hopeless = match front.payload.is_opening() {
            true => pipe.attempts == OPENING_ATTEMPTS_MAX,
            false => pipe.attempts != 0 && SILENCE_NANOS_MAX <= now - pipe.struggles_since,
        };
        if is_hopeless {
            self.give_up(number, sender);
            return None;
        }
        if !self.passes(number, sender) {
            self.credit_hang(number, sender);
            self.retransmit(number, sender);
            return None;
        }
        let pipe = &mut self.connections.get_mut(&number)?.pipes[sender];
        pipe.attempts = 0;
        pipe.is_stalled = false;
        pipe.flight.pop_front().map(|segment| segment.payload)
    }

    /// A pipe whose front is due waits for the end of a stall.
    fn on_stalled(&mut self, number: u64, sender: Side, until: Nanos) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let path = connection.path(sender);
        let pipe = &mut connection.pipes[sender];
        let count = pipe.flight.len() as u64;
        pipe.is_stalled = true;
        self.effects.segments_stalled += count;
        let keys = self.links.get(&path).map_or_else(Vec::new, |link| link.stalls.keys(now));
        self.credit(keys, count);
        self.postpone(number, sender, until);
    }

    /// What waited for the end of a stall on the link arrives now.
    pub(super) fn end_stall(&mut self, path: (NodeId, NodeId)) {
        let now = self.now();
        let mut due = Vec::new();
        for (number, connection) in &mut self.connections {
            for sender in Side::BOTH {
                let is_on = connection.path(sender) == path;
                if is_on && std::mem::take(&mut connection.pipes[sender].is_stalled) {
                    due.push((*number, sender));
                }
            }
        }
        for (number, sender) in due {
            self.postpone(number, sender, now);
        }
        let Some(link) = self.links.get_mut(&path) else { return };
        for (number, victim, cause) in std::mem::take(&mut link.stalled_resets) {
            self.plan(now, Event::Reset { number, victim, cause });
        }
    }

    /// Notes that a connect that is due hangs by a fault, if it does.
    fn credit_hang(&mut self, number: u64, sender: Side) {
        let now = self.now();
        let Some(connection) = self.connections.get(&number) else { return };
        let front = connection.pipes[sender].flight.front();
        if front.is_some_and(|front| matches!(front.payload, Payload::Syn)) {
            let to = connection.path(sender).1;
            let keys = self.host(to).hangs.keys(now);
            self.credit(keys, 1);
        }
    }

    /// Lets the front of a pipe arrive at `moment`; everything behind it waits for it.
    fn postpone(&mut self, number: u64, sender: Side, moment: Nanos) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let pipe = &mut connection.pipes[sender];
        let Some(front) = pipe.flight.front_mut() else { return };
        front.arrives = moment;
        self.plan(moment, Event::Arrive { number, sender });
    }

    /// Sends the front of a pipe again, later.
    pub(super) fn retransmit(&mut self, number: u64, sender: Side) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.sockets[sender].phase == Phase::Lost {
            self.effects.bytes_lost += connection.pipes[sender].lose_flight() as u64;
            return;
        }
        let Some(retry) = self.first_retry(number, sender) else { return };
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let pipe = &mut connection.pipes[sender];
        let is_opening = pipe.flight.front().is_some_and(|front| front.payload.is_opening());
        let is_first = pipe.attempts == 0;
        if is_first {
            pipe.struggles_since = now;
            pipe.retry = retry;
        }
        let doubled = pipe.retry << pipe.attempts.min(16);
        let wait = if is_opening { doubled } else { doubled.min(RETRY_NANOS_MAX) };
        pipe.attempts += 1;
        if is_first {
            let held = pipe.flight.len();
            self.count_held(number, sender, held);
            self.effects.connects_hung += u64::from(is_opening);
        }
        self.postpone(number, sender, now + wait);
    }

    /// How long the front of a pipe waits before it is sent again for the first time.
    fn first_retry(&self, number: u64, sender: Side) -> Option<Nanos> {
        let connection = self.connections.get(&number)?;
        let front = connection.pipes[sender].flight.front()?;
        if front.payload.is_opening() {
            return Some(OPENING_RETRY_NANOS);
        }
        // A stream of its own: a retransmission changes no later segment's latency.
        let mut jitter = self.stream_at("net retry", connection, sender, front.position);
        Some(RETRY_NANOS_MIN + jitter.next_u64() % RETRY_NANOS_MIN)
    }

    fn count_held(&mut self, number: u64, sender: Side, segments: usize) {
        self.effects.segments_held += segments as u64;
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = connection.path(sender);
        let mut keys: Vec<u64> = Vec::new();
        if connection.pipes[sender].is_silent {
            keys.extend(connection.silenced_by);
        }
        // A connect also fails for the way back.
        for path in [(from, to), (to, from)] {
            if let Some(link) = self.links.get(&path).filter(|link| link.is_cut()) {
                keys.extend(&link.cuts);
                break;
            }
        }
        self.credit(keys, segments as u64);
    }

    /// Ends what has waited too long for an answer.
    fn give_up(&mut self, number: u64, sender: Side) {
        self.effects.timeouts += 1;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let pipe = &mut connection.pipes[sender];
        let is_opening = pipe.flight.front().is_some_and(|it| it.payload.is_opening());
        self.effects.bytes_lost += pipe.lose_flight() as u64;
        self.break_socket(number, sender, io::ErrorKind::TimedOut);
        if is_opening {
            self.break_socket(number, sender.other(), io::ErrorKind::TimedOut);
        }
    }

    /// Nothing gets through a connection any more, either way, and nobody is told.
    pub(super) fn silence(&mut self, number: u64, by: Option<u64>) {
        let starves_at = self.now() + SILENCE_NANOS_MAX;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.silenced_by = by;
        for side in Side::BOTH {
            connection.pipes[side].is_silent = true;
            // Unanswered probes of a closed window count like unanswered data.
            self.outbox.plan.push((starves_at, Event::Starve { number, sender: side }));
        }
    }

    pub(super) fn on_starve(&mut self, number: u64, sender: Side) {
        let Some(connection) = self.connections.get(&number) else { return };
        if connection.sockets[sender].writer.is_some() {
            self.effects.timeouts += 1;
            self.break_socket(number, sender, io::ErrorKind::TimedOut);
        }
    }

    fn on_data(&mut self, number: u64, sender: Side, bytes: Bytes) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = connection.path(sender);
        let len = bytes.len();
        let words = [number, sender as u64, len as u64, trace::digest(&bytes)];
        self.world.record(Kind::Segment, Some(to), &words, || {
            format!("{from} -> {to} #{number}: {len} bytes")
        });
        self.effects.segments += 1;
        self.effects.bytes += len as u64;
        if connection.sockets[sender.other()].phase != Phase::Open {
            self.send_reset(number, sender.other());
            return;
        }
        match self.links.get_mut(&(from, to)).and_then(|link| link.ambush(sender, len)) {
            None => self.put(number, sender, bytes),
            Some((key, ambush)) => {
                self.credit([key], 1);
                self.put_ambushed(number, sender, bytes, ambush);
            }
        }
    }

    /// Hands bytes to the reader's socket.
    fn put(&mut self, number: u64, sender: Side, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        self.world.film(|| Scene::Arrived {
            connection: number,
            is_from_client: sender == Side::Client,
            count: bytes.len(),
        });
        if self.tells_arrivals {
            let (path, bytes) = (connection.path(sender), bytes.clone());
            self.outbox.arrived.push(Arrival { path, number, sender, bytes });
        }
        let socket = &mut connection.sockets[sender.other()];
        socket.unread += bytes.len();
        socket.inbox.push_back(bytes);
        self.outbox.wake.extend(socket.reader.take());
    }

    fn put_ambushed(&mut self, number: u64, sender: Side, bytes: Bytes, ambush: Ambush) {
        match ambush {
            Ambush::FlipBit { at, .. } => {
                let mut flipped = bytes.to_vec();
                let at = at % (flipped.len() as u64 * 8);
                flipped[(at / 8) as usize] ^= 1 << (at % 8);
                self.effects.bits_flipped += 1;
                self.record_end(number, sender.other(), "bit flipped");
                self.put(number, sender, flipped.into());
            }
            // Only what is sent.
            Ambush::FlipRecordBit { .. } => self.put(number, sender, bytes),
            Ambush::EndEarly { at } => self.end_early(number, sender, &bytes, at),
            Ambush::LoseResponse { reset_after } => {
                self.put(number, sender, bytes);
                self.lose_response(number, reset_after);
            }
        }
    }

    /// Lets a part of `bytes` arrive and then the end of the stream.
    fn end_early(&mut self, number: u64, sender: Side, bytes: &Bytes, at: u64) {
        let inner = (bytes.len() as u64 - 1).max(1);
        let kept = bytes.slice(..((1 + at % inner) as usize).min(bytes.len() - 1));
        let lost = bytes.len() - kept.len();
        if !kept.is_empty() {
            self.put(number, sender, kept);
        }
        self.record_end(number, sender.other(), "end in mid-segment");
        self.on_fin(number, sender);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let pipe = &mut connection.pipes[sender];
        pipe.is_severed = true;
        let behind = pipe.lose_flight();
        pipe.unacknowledged -= lost + behind;
        self.effects.bytes_lost += (lost + behind) as u64;
        self.effects.streams_cut_short += 1;
        if behind != 0 {
            self.plan_reset(number, sender, Cause::Forged);
        }
    }

    /// Silences the server of a connection, and resets both ends later.
    fn lose_response(&mut self, number: u64, reset_after: Nanos) {
        let reset_at = self.now() + reset_after;
        self.record_end(number, Side::Server, "silent: the response is lost");
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.pipes[Side::Server].is_silent = true;
        self.effects.responses_lost += 1;
        self.plan(reset_at, Event::Sever { number });
    }

    fn on_fin(&mut self, number: u64, sender: Side) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let socket = &mut connection.sockets[sender.other()];
        match socket.phase {
            Phase::Open => {
                socket.has_end = true;
                self.outbox.wake.extend(socket.reader.take());
                self.record_end(number, sender.other(), "end arrived");
            }
            Phase::Lost => self.send_reset(number, sender.other()),
            _ => {}
        }
    }

    /// Notes that `count` bytes were read, and lets `sender` know if that is possible.
    pub(super) fn on_consumed(&mut self, number: u64, sender: Side, count: usize) {
        let is_heard = self.is_heard(number, sender.other());
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.pipes[sender].uncredited += count;
        if connection.sockets[sender].writer.is_some() {
            self.plan_credit(number, sender);
        } else if is_heard {
            self.take_credit(number, sender);
        }
    }

    /// Whether what `side` says without data gets through now.
    fn is_heard(&self, number: u64, side: Side) -> bool {
        let Some(connection) = self.connections.get(&number) else { return false };
        self.passes(number, side) && self.stalled_until(connection.path(side)) <= self.now()
    }

    /// Plans that a writer who waits for room hears of it.
    pub(super) fn plan_credit(&mut self, number: u64, sender: Side) {
        let is_heard = self.is_heard(number, sender.other());
        let now = self.now();
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = connection.path(sender.other());
        let latency = self.profile_of(from, to).latency_nanos_median;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let is_silent = connection.pipes[sender.other()].is_silent;
        let pipe = &mut connection.pipes[sender];
        if pipe.uncredited == 0 || pipe.is_credit_planned || is_silent {
            return;
        }
        pipe.is_credit_planned = true;
        // What was not heard is asked for again by probes of the window.
        let wait = if is_heard { latency } else { RETRY_NANOS_MIN };
        self.plan(now + wait, Event::Credit { number, sender });
    }

    pub(super) fn on_credit(&mut self, number: u64, sender: Side) {
        let is_heard = self.is_heard(number, sender.other());
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.pipes[sender].is_credit_planned = false;
        if is_heard {
            self.take_credit(number, sender);
        } else if connection.sockets[sender].writer.is_some() {
            self.plan_credit(number, sender);
        }
    }

    fn take_credit(&mut self, number: u64, sender: Side) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let pipe = &mut connection.pipes[sender];
        pipe.unacknowledged -= std::mem::take(&mut pipe.uncredited);
        self.outbox.wake.extend(connection.sockets[sender].writer.take());
    }
}
