//! The smallest Kafka client there is, to see whether a broker answers: two requests built by hand,
//! so that the harness trusts no code of this project.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A port of the loopback interface that nobody uses now.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Asks for the brokers (Metadata v1 about no topic); gives their number.
///
/// # Errors
/// Nobody listens, or the answer is something else.
pub fn brokers(port: u16) -> Result<usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let body = answer(&mut stream, 3, 1, &0i32.to_be_bytes())?;
    let count = body.get(..4).context("the number of brokers")?;
    Ok(usize::try_from(i32::from_be_bytes(count.try_into()?))?)
}

/// Sends one request with a header of version 1 and gives the body of the answer.
///
/// # Errors
/// The connection breaks, or the answer belongs to another request.
pub fn answer(stream: &mut TcpStream, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
    const CORRELATION: i32 = 4711;
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(CORRELATION.to_be_bytes());
    frame.extend(5i16.to_be_bytes());
    frame.extend(b"probe");
    frame.extend(body);
    stream.write_all(&u32::try_from(frame.len())?.to_be_bytes())?;
    stream.write_all(&frame)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size);
    if !(4..100_000_000).contains(&size) {
        bail!("an answer of {size} bytes");
    }
    let mut answer = vec![0; size as usize];
    stream.read_exact(&mut answer)?;
    if answer[..4] != CORRELATION.to_be_bytes() {
        bail!("an answer to another request");
    }
    Ok(answer.split_off(4))
}
