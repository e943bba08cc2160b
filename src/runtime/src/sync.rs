//! Channels and locks whose behaviour is the same in every run.
//!
//! tokio's mpsc, oneshot, Notify, Mutex and Semaphore wake in order; its `watch` does not, so
//! [`watch`] is our own.

pub use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub mod watch {
    //! One writer, many readers, only the newest value counts.

    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    use tokio::sync::Notify;

    struct Shared<T> {
        value: Mutex<Arc<T>>,
        version: AtomicU64,
        closed: AtomicBool,
        changed: Notify,
    }

    impl<T> Shared<T> {
        fn load(&self) -> Arc<T> {
            // The lock guards one pointer, so a panic elsewhere can not leave it half written.
            Arc::clone(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    /// Sets the value. Dropping it ends [`Receiver::changed`].
    pub struct Sender<T>(Arc<Shared<T>>);

    /// Reads the newest value. Each clone keeps its own account of what it has seen.
    pub struct Receiver<T> {
        shared: Arc<Shared<T>>,
        seen: u64,
    }

    /// The sender is gone: the value will not change any more.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("the sender is gone")]
    pub struct Closed;

    /// A pair that starts with `value`, which counts as seen.
    pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            value: Mutex::new(Arc::new(value)),
            version: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        });
        (Sender(Arc::clone(&shared)), Receiver { shared, seen: 0 })
    }

    impl<T> Sender<T> {
        /// Replaces the value and wakes every reader.
        pub fn send(&self, value: T) {
            self.send_shared(Arc::new(value));
        }

        /// Replaces the value by one that is shared already.
        pub fn send_shared(&self, value: Arc<T>) {
            *self.0.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
            self.0.version.fetch_add(1, Ordering::Release);
            self.0.changed.notify_waiters();
        }

        /// The newest value.
        pub fn borrow(&self) -> Arc<T> {
            self.0.load()
        }

        /// A new reader, for which the present value counts as seen.
        pub fn subscribe(&self) -> Receiver<T> {
            let seen = self.0.version.load(Ordering::Acquire);
            Receiver { shared: Arc::clone(&self.0), seen }
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.closed.store(true, Ordering::Release);
            self.0.changed.notify_waiters();
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            Receiver { shared: Arc::clone(&self.shared), seen: self.seen }
        }
    }

    impl<T> Receiver<T> {
        /// The newest value, without marking it seen.
        pub fn borrow(&self) -> Arc<T> {
            self.shared.load()
        }

        /// Waits until the value was replaced since it was last marked seen, and marks it seen.
        ///
        /// The last value is reported before [`Closed`] is. Cancel-safe.
        pub async fn changed(&mut self) -> Result<(), Closed> {
            loop {
                let shared = Arc::clone(&self.shared);
                let notified = shared.changed.notified();
                let mut notified = std::pin::pin!(notified);
                // Registered before the look, so that no change falls between the two.
                notified.as_mut().enable();
                // Closed is looked at first: once it is set, the version is final, so a last value
                // sent just before the end is never missed.
                let closed = self.shared.closed.load(Ordering::Acquire);
                let version = self.shared.version.load(Ordering::Acquire);
                if version != self.seen {
                    self.seen = version;
                    return Ok(());
                }
                if closed {
                    return Err(Closed);
                }
                notified.await;
            }
        }

        /// Waits until `wanted` holds for the newest value, marks it seen, and returns it.
        ///
        /// [`Closed`] when the sender went and left a value that is not wanted.
        pub async fn wait_for(
            &mut self,
            mut wanted: impl FnMut(&T) -> bool,
        ) -> Result<Arc<T>, Closed> {
            loop {
                self.seen = self.shared.version.load(Ordering::Acquire);
                let value = self.borrow();
                if wanted(&value) {
                    return Ok(value);
                }
                self.changed().await?;
            }
        }
    }
}
