//! Byte streams between nodes.

use std::any::Any;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{BoxFuture, File};

/// A node's network.
pub trait Net: Send + Sync + 'static {
    /// Listens on `address`, a `host:port` pair; port 0 takes a free one.
    ///
    /// Errors: [`io::ErrorKind::AddrInUse`], [`io::ErrorKind::AddrNotAvailable`],
    /// [`io::ErrorKind::PermissionDenied`], [`io::ErrorKind::InvalidInput`] for text that is not
    /// `host:port`, [`io::ErrorKind::NotFound`] for a name that does not resolve. An address can be
    /// listened on again as soon as its listener is dropped, whatever its old connections do.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Connects to `address`, a `host:port` pair, trying each address the name resolves to.
    ///
    /// Errors: [`io::ErrorKind::ConnectionRefused`] when nobody listens,
    /// [`io::ErrorKind::InvalidInput`] and [`io::ErrorKind::NotFound`] as in [`Net::listen`]; of
    /// several addresses, the error of the last. May take for ever when nobody answers: wrap it in
    /// [`crate::timeout`].
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// A listening socket; dropping it closes it: later connects are refused, connections that were
/// accepted live on.
pub trait Listener: Send + Sync {
    /// The next connection, in the order they arrived; a client can be connected, and have sent,
    /// before it is accepted. Cancel-safe: a dropped call loses no connection.
    ///
    /// An error is about this one call (out of file descriptors, for one): the listener stays
    /// usable, and the caller waits a moment before it tries again.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;

    /// The address in use, with the port that was taken for port 0.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A connected byte stream: bytes arrive in order, once, in pieces of any size. Nothing is held
/// back to fill packets (`TCP_NODELAY`).
///
/// How it ends:
/// - `shutdown` of the writing side lets the peer read what was sent and then the end (0 bytes);
///   the other direction stays open. Writing after it fails with `BrokenPipe`.
/// - Dropping the stream, or both halves, closes it: the peer reads what was sent and then the end.
///   If bytes that arrived were not read, the connection is reset instead, and the peer's reads
///   fail with `ConnectionReset`. Dropping one half alone is not seen by the peer.
/// - Writing to a peer that has closed fails, if not at once then later, with `BrokenPipe` or
///   `ConnectionReset`.
/// - A peer that takes nothing makes writes wait, after a bounded count of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// The other end.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// This end.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Two halves that two tasks can use at once.
    fn split(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>);
}

/// The incoming half of a [`Stream`].
pub trait ReadHalf: AsyncRead + Send + Sync + Unpin {}

/// The outgoing half of a [`Stream`].
pub trait WriteHalf: AsyncWrite + Send + Sync + Unpin {
    /// Sends `len` bytes of `file` from `position` on, behind what was written before; ends early,
    /// with the count sent, only at the end of the file. After an error, or when the future was
    /// dropped, the count is unknown and the stream good for nothing but to be closed.
    ///
    /// Implementations that can (a plain socket and a real file) do it without a copy through
    /// memory; this fallback reads and writes.
    fn send_file<'a>(
        &'a mut self,
        file: &'a dyn File,
        position: u64,
        len: u64,
    ) -> BoxFuture<'a, io::Result<u64>>;
}

/// [`WriteHalf::send_file`] for streams that have nothing better: reads chunks and writes them.
pub async fn copy_file<W: AsyncWrite + Unpin + ?Sized>(
    writer: &mut W,
    file: &dyn File,
    position: u64,
    len: u64,
) -> io::Result<u64> {
    const CHUNK_BYTES: u64 = 256 * 1024;
    let mut sent = 0;
    while sent < len {
        let chunk = file.read_at(position + sent, (len - sent).min(CHUNK_BYTES) as usize).await?;
        if chunk.is_empty() {
            break;
        }
        writer.write_all(&chunk).await?;
        sent += chunk.len() as u64;
    }
    Ok(sent)
}

/// Lets an implementation recognise its own [`File`]s behind the trait object.
pub trait AsAny {
    /// This value as [`Any`].
    fn as_any(&self) -> &dyn Any;
}

impl<T: Any> AsAny for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
