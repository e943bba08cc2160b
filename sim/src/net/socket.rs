//! What an application does with its socket: reading and writing.

use std::io;
use std::task::{Poll, Waker};

use bytes::Buf;
use runtime::Rng;
use runtime::tokio::io::ReadBuf;

use super::connection::{Phase, Side, Socket};
use super::link::one_in;
use super::state::State;

/// One operation of so many is told to come again although it could be done.
const YIELD_ONE_IN: u64 = 24;
/// Shorter writes are taken whole, as by a kernel that has room.
const SHORT_WRITE_BYTES_MIN: usize = 64;

impl State {
    /// Reads what has arrived at `side`.
    pub(super) fn poll_read(
        &mut self,
        number: u64,
        side: Side,
        waker: &Waker,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = self.now();
        let Some(connection) = self.connections.get(&number) else { return Poll::Pending };
        let (from, to) = connection.path(side.other());
        let profile = self.profile_of(from, to);
        let single = self.host(to).single_bytes.keys(now);
        let Some(connection) = self.connections.get_mut(&number) else { return Poll::Pending };
        let socket = &mut connection.sockets[side];
        if socket.phase.is_over() {
            // Of a process that has ended.
            return Poll::Pending;
        }
        if socket.unread == 0 {
            return match socket.error {
                _ if socket.has_end => Poll::Ready(Ok(())),
                Some(kind) => {
                    socket.error = None;
                    Poll::Ready(Err(kind.into()))
                }
                None if socket.phase == Phase::Broken => Poll::Ready(Ok(())),
                None => {
                    self.outbox.wait(&mut socket.reader, waker);
                    Poll::Pending
                }
            };
        }
        if one_in(YIELD_ONE_IN, &mut socket.habits) {
            self.outbox.wake.push(waker.clone());
            return Poll::Pending;
        }
        let whole = socket.unread.min(buffer.remaining());
        let mut count = whole;
        if !single.is_empty() && 1 < whole {
            count = 1;
            self.effects.single_byte_reads += 1;
        } else if 1 < whole && one_in(profile.short_reads_one_in, &mut socket.habits) {
            count = 1 + (socket.habits.next_u64() % (whole as u64 - 1)) as usize;
            self.effects.short_reads += 1;
        }
        take(socket, count, buffer);
        if count == 1 && 1 < whole {
            self.credit(single, 1);
        }
        self.on_consumed(number, side.other(), count);
        Poll::Ready(Ok(()))
    }

    /// How many of `len` bytes `side` can write now.
    pub(super) fn poll_room(
        &mut self,
        number: u64,
        side: Side,
        waker: &Waker,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get(&number) else { return Poll::Pending };
        let (from, to) = connection.path(side);
        let profile = self.profile_of(from, to);
        let Some(connection) = self.connections.get_mut(&number) else { return Poll::Pending };
        let socket = &mut connection.sockets[side];
        if socket.phase.is_over() {
            return Poll::Pending;
        }
        if let Some(kind) = socket.error.take() {
            return Poll::Ready(Err(kind.into()));
        }
        if socket.is_shut || socket.phase == Phase::Broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = profile.window_bytes.saturating_sub(connection.pipes[side].unacknowledged);
        if room == 0 {
            self.outbox.wait(&mut socket.writer, waker);
            self.plan_credit(number, side);
            return Poll::Pending;
        }
        if one_in(YIELD_ONE_IN, &mut socket.habits) {
            self.outbox.wake.push(waker.clone());
            return Poll::Pending;
        }
        let whole = room.min(len);
        let is_short = SHORT_WRITE_BYTES_MIN <= whole
            && one_in(profile.short_writes_one_in, &mut socket.habits);
        if !is_short {
            return Poll::Ready(Ok(whole));
        }
        self.effects.short_writes += 1;
        Poll::Ready(Ok(1 + (socket.habits.next_u64() % (whole as u64 - 1)) as usize))
    }
}

/// Moves `count` bytes from the inbox to `buffer`.
fn take(socket: &mut Socket, count: usize, buffer: &mut ReadBuf<'_>) {
    socket.unread -= count;
    let mut left = count;
    while let Some(front) = socket.inbox.front_mut() {
        let part = left.min(front.len());
        buffer.put_slice(&front[..part]);
        front.advance(part);
        left -= part;
        if !front.is_empty() {
            return;
        }
        socket.inbox.pop_front();
        if left == 0 {
            return;
        }
    }
}
