//! TCP sockets: listening and connecting.

use std::io;
use std::net::SocketAddr;

use runtime::{BoxFuture, Listener, Net, Stream};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use crate::stream::OsStream;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

pub(crate) struct OsNet;

impl Net for OsNet {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let mut failure = None;
            for address in resolve(address).await? {
                match listen_on(address) {
                    Ok(listener) => {
                        let listener: Box<dyn Listener> = Box::new(OsListener(listener));
                        return Ok(listener);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            Err(failure.unwrap_or_else(|| unresolved(address)))
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let mut failure = None;
            for address in resolve(address).await? {
                match connect_to(address).await {
                    Ok(stream) => {
                        let stream: Box<dyn Stream> = Box::new(stream);
                        return Ok(stream);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            Err(failure.unwrap_or_else(|| unresolved(address)))
        })
    }
}

/// The socket addresses that `address` names, in the resolver's order.
async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let bad = || {
        let text = format!("{address:?} is not host:port");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    if host.is_empty() || host.contains(['[', ']', ':', '/', ' ', '\0']) {
        return Err(bad());
    }
    match lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        // getaddrinfo's own failures have no kind; those of the machine (no descriptors) have.
        Err(error) if error.raw_os_error().is_none() => Err(unresolved(address)),
        Err(error) => Err(error),
    }
}

fn unresolved(address: &str) -> io::Error {
    let text = format!("the host of {address:?} does not resolve");
    io::Error::new(io::ErrorKind::NotFound, text)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Else a restarted broker would wait for the old connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn connect_to(address: SocketAddr) -> io::Result<OsStream> {
    let socket = TcpStream::connect(address).await?;
    // Connecting to a free port of this machine's own ephemeral range can meet itself: TCP's
    // simultaneous open. Nobody listens there.
    if socket.local_addr()? == socket.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(OsStream::new(socket))
}

struct OsListener(TcpListener);

impl Listener for OsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            loop {
                match self.0.accept().await {
                    Ok((socket, _)) => {
                        let stream: Box<dyn Stream> = Box::new(OsStream::new(socket));
                        return Ok(stream);
                    }
                    // The client went before it was accepted: nobody's error.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
