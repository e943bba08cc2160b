//! Waiting for many futures at once, in an order that a simulated run repeats.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Begins all futures, in their order, and returns what they give, in the same order.
///
/// Each one is polled once before the first is awaited, so that what they ask of others is asked at
/// once; a future that waits for several things in turn goes on when those before it are done. That
/// takes one pass over them however many there are.
pub async fn join_all<F: Future>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut begun: Vec<Begun<F>> = all.into_iter().map(|f| Begun::Open(Box::pin(f))).collect();
    poll_fn(|context| {
        for future in &mut begun {
            if let Begun::Open(open) = future
                && let Poll::Ready(output) = open.as_mut().poll(context)
            {
                *future = Begun::Done(output);
            }
        }
        Poll::Ready(())
    })
    .await;
    let mut outputs = Vec::with_capacity(begun.len());
    for future in begun {
        outputs.push(match future {
            Begun::Open(open) => open.await,
            Begun::Done(output) => output,
        });
    }
    outputs
}

enum Begun<F: Future> {
    Open(Pin<Box<F>>),
    Done(F::Output),
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::sync::oneshot;

    #[test]
    fn all_begin_at_once_and_the_results_are_in_order() {
        let (first, one) = oneshot::channel();
        let (second, two) = oneshot::channel();
        let begun = std::cell::RefCell::new(Vec::new());
        let wait = async |name, answered: oneshot::Receiver<u8>| {
            begun.borrow_mut().push(name);
            (name, answered.await.unwrap())
        };
        let mut joined = Box::pin(join_all([wait('a', one), wait('b', two)]));
        let mut poll = || joined.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        assert_eq!(*begun.borrow(), ['a', 'b']);
        second.send(2).unwrap();
        assert!(poll().is_pending());
        first.send(1).unwrap();
        assert_eq!(poll(), Poll::Ready(vec![('a', 1), ('b', 2)]));
    }
}
