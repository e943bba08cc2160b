//! The runtime's traits over the network: listeners, streams and their halves.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use runtime::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use runtime::{BoxFuture, File, Listener, Net, ReadHalf, Stream, WriteHalf, copy_file};

use crate::world::Process;

use super::connection::Side;
use super::{Network, address};

/// How long a machine takes to see that it has no route.
const NO_ROUTE: Duration = Duration::from_micros(5);

/// The network as one process sees it.
pub(super) struct ProcessNet {
    pub(super) network: Network,
    pub(super) process: Process,
}

impl Net for ProcessNet {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let address = address::resolve(self.network.world(), address)?;
            let (id, address) = self.network.act(|state| state.listen(self.process, address))?;
            let network = self.network.clone();
            let listener = SimListener { network, process: self.process, id, address };
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let world = self.network.world();
            let target = address::destination(address::resolve(world, address)?);
            let Some(node) = address::node_at(self.process.node, target.ip()) else {
                world.sleep(NO_ROUTE).await;
                return Err(io::ErrorKind::NetworkUnreachable.into());
            };
            let number = self.network.act(|state| state.open(self.process, node, target))?;
            // From here on a drop closes it.
            let stream = SimStream(Arc::new(Handle {
                network: self.network.clone(),
                process: self.process,
                number,
                side: Side::Client,
            }));
            poll_fn(|context| {
                self.network.act(|state| state.poll_established(number, context.waker()))
            })
            .await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

struct SimListener {
    network: Network,
    process: Process,
    id: u64,
    address: SocketAddr,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let next = |context: &mut Context<'_>| {
                self.network.act(|state| state.poll_accept(self.id, context.waker()))
            };
            let number = poll_fn(next).await;
            let handle = Handle {
                network: self.network.clone(),
                process: self.process,
                number,
                side: Side::Server,
            };
            Ok(Box::new(SimStream(Arc::new(handle))) as Box<dyn Stream>)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if self.network.world().is_alive(self.process) {
            self.network.act(|state| state.unlisten(self.id));
        }
    }
}

/// A process's hold on one end of a connection; the last drop closes it.
struct Handle {
    network: Network,
    process: Process,
    number: u64,
    side: Side,
}

impl Handle {
    fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.network.act(|state| state.poll_read(self.number, self.side, context.waker(), buffer))
    }

    fn poll_write(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        let waker = context.waker();
        let room = self.network.act(|state| state.poll_room(self.number, self.side, waker, len));
        let taken = ready!(room)?;
        let bytes = gather(buffers, taken);
        self.network.observe(self.number, self.side, &bytes);
        match self.network.act(|state| state.send(self.number, self.side, bytes)) {
            true => Poll::Ready(Ok(taken)),
            // An observer has ended this process: it does not get to know.
            false => Poll::Pending,
        }
    }

    fn address(&self, side: Side) -> io::Result<SocketAddr> {
        let address = self.network.act(|state| {
            let connection = state.connections.get(&self.number)?;
            Some(connection.sockets[side].address)
        });
        address.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Those of a process that has ended were dealt with then.
        if self.network.world().is_alive(self.process) {
            self.network.act(|state| state.close(self.number, self.side));
        }
    }
}

/// The first `len` bytes of `buffers`.
fn gather(buffers: &[IoSlice<'_>], len: usize) -> Bytes {
    let first = buffers.iter().find(|buffer| !buffer.is_empty());
    if let Some(whole) = first.and_then(|first| first.get(..len)) {
        return Bytes::copy_from_slice(whole);
    }
    let mut bytes = BytesMut::with_capacity(len);
    for buffer in buffers {
        let part = buffer.len().min(len - bytes.len());
        bytes.extend_from_slice(&buffer[..part]);
    }
    bytes.freeze()
}

struct SimStream(Arc<Handle>);

impl Stream for SimStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.address(self.0.side.other())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.address(self.0.side)
    }

    fn split(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        (Box::new(SimReadHalf(Arc::clone(&self.0))), Box::new(SimWriteHalf(self.0)))
    }
}

struct SimReadHalf(Arc<Handle>);

impl ReadHalf for SimReadHalf {}

struct SimWriteHalf(Arc<Handle>);

impl WriteHalf for SimWriteHalf {
    fn send_file<'a>(
        &'a mut self,
        file: &'a dyn File,
        position: u64,
        len: u64,
    ) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(copy_file(self, file, position, len))
    }
}

macro_rules! reads {
    ($($reader:ty),*) => { $(
        impl AsyncRead for $reader {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.0.poll_read(context, buffer)
            }
        }
    )* };
}
reads!(SimStream, SimReadHalf);

macro_rules! writes {
    ($($writer:ty),*) => { $(
        impl AsyncWrite for $writer {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.0.poll_write(context, &[IoSlice::new(bytes)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.0.poll_write(context, buffers)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                self.0.network.act(|state| state.shut(self.0.number, self.0.side));
                Poll::Ready(Ok(()))
            }
        }
    )* };
}
writes!(SimStream, SimWriteHalf);
