//! Tasks on tokio's executor.

use std::sync::Arc;

use runtime::{BoxFuture, JoinError, Task, TaskControl, Tasks};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::lanes::Lanes;

pub(crate) struct TokioTasks {
    handle: Handle,
    lanes: Arc<Lanes>,
}

impl TokioTasks {
    pub(crate) fn new(handle: Handle, lanes: Arc<Lanes>) -> TokioTasks {
        TokioTasks { handle, lanes }
    }
}

impl Tasks for TokioTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        Task::new(TokioTask(self.handle.spawn(future)))
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let ended = self.lanes.work.run(work);
        Box::pin(async move {
            // Work that panicked has ended too.
            let _ = ended.await;
        })
    }
}

struct TokioTask(JoinHandle<()>);

impl TaskControl for TokioTask {
    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    fn join(self: Box<Self>) -> BoxFuture<'static, Result<(), JoinError>> {
        Box::pin(async move {
            match self.0.await {
                Ok(()) => Ok(()),
                Err(error) if error.is_panic() => Err(JoinError::Panicked),
                Err(_) => Err(JoinError::Aborted),
            }
        })
    }
}
