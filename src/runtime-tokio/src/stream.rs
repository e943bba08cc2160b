//! One TCP connection, whole or in two halves, and sending files through it.
//!
//! A file goes out by sendfile(2). That call waits for the disk when a page is not in memory, on
//! the worker thread; so each piece is first brought into the page cache, off the worker.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use runtime::{BoxFuture, File, ReadHalf, Stream, WriteHalf, copy_file};
use rustix::fs::sendfile;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::file::OsFile;

/// Bytes per sendfile: what a socket's buffer takes at once, about.
const SEND_FILE_BYTES: u64 = 256 * 1024;

/// A connected socket.
pub(crate) struct OsStream(TcpStream);

impl OsStream {
    pub(crate) fn new(socket: TcpStream) -> OsStream {
        // Fails only when the peer is gone already, which the first read or write will say.
        let _ = socket.set_nodelay(true);
        OsStream(socket)
    }
}

impl Stream for OsStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn split(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (read, write) = self.0.into_split();
        (Box::new(OsReadHalf(read)), Box::new(OsWriteHalf { half: Some(write) }))
    }
}

impl AsyncRead for OsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for OsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

struct OsReadHalf(OwnedReadHalf);

impl ReadHalf for OsReadHalf {}

impl AsyncRead for OsReadHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

/// The outgoing half. tokio's own would send a FIN when it is dropped; ours does so only when it
/// is shut down.
struct OsWriteHalf {
    half: Option<OwnedWriteHalf>,
}

impl OsWriteHalf {
    fn half(&mut self) -> &mut OwnedWriteHalf {
        self.half.as_mut().expect("taken by the drop alone")
    }
}

impl Drop for OsWriteHalf {
    fn drop(&mut self) {
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

impl AsyncWrite for OsWriteHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.half()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.half()).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.half()).poll_shutdown(context)
    }
}

impl WriteHalf for OsWriteHalf {
    fn send_file<'a>(
        &'a mut self,
        file: &'a dyn File,
        position: u64,
        len: u64,
    ) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(async move {
            let Some(own) = file.as_any().downcast_ref::<OsFile>() else {
                return copy_file(self, file, position, len).await;
            };
            let sent = send_own(self.half().as_ref(), own, position, len).await?;
            match sent {
                Sent::All(count) => Ok(count),
                Sent::Unsupported(count) => {
                    Ok(count + copy_file(self, file, position + count, len - count).await?)
                }
            }
        })
    }
}

/// How far [`send_own`] came.
enum Sent {
    /// To the end of the range or of the file.
    All(u64),
    /// The file system can not do it; the count sent before it said so.
    Unsupported(u64),
}

async fn send_own(socket: &TcpStream, file: &OsFile, position: u64, len: u64) -> io::Result<Sent> {
    let mut sent = 0;
    while sent < len {
        let from = position + sent;
        let count = (len - sent).min(SEND_FILE_BYTES) as usize;
        file.warm(from, count).await?;
        let send = || {
            let mut offset = from;
            rustix::io::retry_on_intr(|| sendfile(socket, file, Some(&mut offset), count))
                .map_err(io::Error::from)
        };
        match socket.async_io(Interest::WRITABLE, send).await {
            Ok(0) => break,
            Ok(count) => sent += count as u64,
            Err(error) if cannot_send(&error) => return Ok(Sent::Unsupported(sent)),
            Err(error) => return Err(error),
        }
    }
    Ok(Sent::All(sent))
}

/// Whether this pair of file and socket has no sendfile.
fn cannot_send(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
