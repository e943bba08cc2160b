//! The requests that were sent on a connection and not answered yet.
//!
//! In: requests in the order they are written, responses in the order they arrive. Out: which
//! request a response belongs to, and when the next time limit passes. Pure.
//!
//! Invariant: a broker answers in request order, so a response belongs to the oldest request or the
//! connection is useless.

use std::collections::VecDeque;

use model::Instant;

/// The oldest request first.
#[derive(Debug)]
pub(crate) struct InFlight<T> {
    requests: VecDeque<Sent<T>>,
}

/// One request without a response.
#[derive(Debug)]
pub(crate) struct Sent<T> {
    /// Comes back in the response.
    pub(crate) correlation_id: i32,
    /// When it counts as lost.
    pub(crate) deadline: Instant,
    /// What the caller keeps with it.
    pub(crate) call: T,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        InFlight { requests: VecDeque::new() }
    }
}

impl<T> InFlight<T> {
    /// Notes a request that is about to be written.
    pub(crate) fn push(&mut self, correlation_id: i32, deadline: Instant, call: T) {
        self.requests.push_back(Sent { correlation_id, deadline, call });
    }

    /// The request that the response with `correlation_id` belongs to; the id that was due instead
    /// when it is not this one's turn, `None` when no response is due.
    pub(crate) fn answer(&mut self, correlation_id: i32) -> Result<T, Option<i32>> {
        match self.requests.front() {
            Some(sent) if sent.correlation_id == correlation_id => {
                Ok(self.requests.pop_front().expect("it was just looked at").call)
            }
            Some(sent) => Err(Some(sent.correlation_id)),
            None => Err(None),
        }
    }

    /// When the first time limit passes. A later request may have the shorter limit.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.requests.iter().map(|sent| sent.deadline).min()
    }

    /// Takes everything out, the oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Sent<T>> + '_ {
        self.requests.drain(..)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_come_in_request_order() {
        let mut in_flight = InFlight::default();
        assert_eq!(in_flight.answer(1), Err(None));
        in_flight.push(1, Instant(50), "a");
        in_flight.push(2, Instant(30), "b");
        assert_eq!(in_flight.next_deadline(), Some(Instant(30)));
        assert_eq!(in_flight.answer(2), Err(Some(1)));
        assert_eq!(in_flight.answer(1), Ok("a"));
        assert_eq!(in_flight.answer(2), Ok("b"));
        assert!(in_flight.is_empty());
        assert_eq!(in_flight.next_deadline(), None);
    }
}
