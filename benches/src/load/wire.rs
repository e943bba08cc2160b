//! Frames over a blocking socket.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use protocol::frame::{decode_response_header, encode_request};
use protocol::messages as m;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::{Decode, ErrorCode, Message, Request, StrBytes};
use tests::child::wait_for;

use super::Topic;

/// The correlation id of a request stands behind length, key and version.
const CORRELATION_ID_AT: usize = 8;
const FRAME_BYTES_MAX: u32 = 512 * 1024 * 1024;
/// A broker that does not answer for so long does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const LIMIT_MS: i32 = ANSWER_LIMIT.as_millis() as i32;
const BUFFER_BYTES: usize = 32 * 1024;

/// The writing end.
pub(super) struct Sender(TcpStream);

/// The reading end. What is large goes past its buffer, straight into the frame's memory.
pub struct Receiver(BufReader<TcpStream>);

/// Connects to `address`.
pub(super) fn connect(address: &str) -> Result<(Sender, Receiver)> {
    let stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    Ok((Sender(stream.try_clone()?), Receiver::new(stream)))
}

impl Sender {
    /// Keeps the connection open.
    pub(super) fn hold(&self) -> Result<TcpStream> {
        Ok(self.0.try_clone()?)
    }

    pub(super) fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.0.write_all(frame).context("send")
    }
}

impl Receiver {
    /// Receives from `stream`.
    pub fn new(stream: TcpStream) -> Receiver {
        Receiver(BufReader::with_capacity(BUFFER_BYTES, stream))
    }

    /// The next frame, without its length.
    ///
    /// # Errors
    /// The connection is closed, or broken.
    pub fn frame(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).context("receive")?;
        let length = u32::from_be_bytes(length);
        ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        // Memory that is not cleared before it is filled.
        let mut frame = Vec::with_capacity(length as usize);
        self.0.by_ref().take(u64::from(length)).read_to_end(&mut frame).context("receive")?;
        ensure!(frame.len() == length as usize, "the connection was closed inside a frame");
        Ok(Bytes::from(frame))
    }

    /// The answer to a request of this kind.
    pub(super) fn answer<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let frame = self.frame()?;
        let (_, mut body) =
            decode_response_header(frame, R::KEY, version, FRAME_BYTES_MAX as usize)?;
        Ok(R::Response::decode(&mut body, version)?)
    }
}

/// A request as a frame, in one piece.
pub(super) fn frame_of<R: Request + Message>(request: &R, version: i16) -> Result<Vec<u8>> {
    let client_id = StrBytes::from_static("load");
    let chunks = encode_request(request, version, 0, Some(&client_id))?;
    let mut frame = BytesMut::new();
    for chunk in chunks {
        frame.extend_from_slice(chunk.chunk());
    }
    Ok(frame.to_vec())
}

/// Numbers a frame.
pub(super) fn number(frame: &mut [u8], correlation_id: i32) {
    frame[CORRELATION_ID_AT..CORRELATION_ID_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
}

/// Creates a topic, and waits until all of it is there.
pub(super) fn create(topic: &Topic, configs: &[String]) -> Result<()> {
    const VERSION: i16 = 5;
    let configs = configs.iter().map(|config| {
        let (name, value) = config.split_once('=').context("name=value")?;
        let (name, value) = (StrBytes::from(name), Some(StrBytes::from(value)));
        Ok(CreatableTopicConfig { name, value, ..Default::default() })
    });
    let topics = vec![CreatableTopic {
        name: StrBytes::from(topic.topic.as_str()),
        num_partitions: i32::try_from(topic.partitions)?,
        replication_factor: 1,
        configs: configs.collect::<Result<_>>()?,
        ..Default::default()
    }];
    let request = m::CreateTopicsRequest { topics, timeout_ms: LIMIT_MS, ..Default::default() };
    let (mut sender, mut receiver) = connect(&topic.address)?;
    sender.send(&frame_of(&request, VERSION)?)?;
    let created = receiver.answer::<m::CreateTopicsRequest>(VERSION)?;
    for topic in &created.topics {
        let error = ErrorCode::from_code(topic.error_code);
        ensure!(!error.is_error(), "create {}: {error} {:?}", topic.name, topic.error_message);
    }
    wait_for("the topic to be there", ANSWER_LIMIT, || {
        Ok(is_there(topic, &mut sender, &mut receiver)?.then_some(()))
    })
}

/// Whether every partition has a leader that serves it.
fn is_there(topic: &Topic, sender: &mut Sender, receiver: &mut Receiver) -> Result<bool> {
    const VERSION: i16 = 5;
    const LATEST: i64 = -1;
    let partition = |index| {
        Ok(ListOffsetsPartition {
            partition_index: i32::try_from(index)?,
            timestamp: LATEST,
            ..Default::default()
        })
    };
    let partitions = (0..topic.partitions).map(partition).collect::<Result<_>>()?;
    let name = StrBytes::from(topic.topic.as_str());
    let topics = vec![ListOffsetsTopic { name, partitions, ..Default::default() }];
    let request = m::ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    sender.send(&frame_of(&request, VERSION)?)?;
    let answer = receiver.answer::<m::ListOffsetsRequest>(VERSION)?;
    let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.all(|partition| !ErrorCode::from_code(partition.error_code).is_error()))
}

/// Deletes a topic.
pub(super) fn delete(topic: &Topic) -> Result<()> {
    const VERSION: i16 = 5;
    let topic_names = vec![StrBytes::from(topic.topic.as_str())];
    let request =
        m::DeleteTopicsRequest { topic_names, timeout_ms: LIMIT_MS, ..Default::default() };
    let (mut sender, mut receiver) = connect(&topic.address)?;
    sender.send(&frame_of(&request, VERSION)?)?;
    let deleted = receiver.answer::<m::DeleteTopicsRequest>(VERSION)?;
    for topic in &deleted.responses {
        let error = ErrorCode::from_code(topic.error_code);
        ensure!(!error.is_error(), "delete {:?}: {error} {:?}", topic.name, topic.error_message);
    }
    Ok(())
}
