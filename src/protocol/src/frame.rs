//! Frames: a length of four bytes, a header, a body.
//!
//! In: bytes as they arrive, or a message. Out: whole frames as slices of what was read, or buffers
//! to write.
//!
//! Invariant: a frame's length is checked when its four bytes are there, and memory grows only with
//! bytes that have arrived.
//!
//! Start at [`FrameDecoder`], [`decode_request_header`] and [`encode_response`].

use bytes::{Buf, Bytes, BytesMut};

use crate::messages::{RequestHeader, ResponseHeader};
use crate::wire::Writer;
use crate::wire::{Decode, DecodeError, Encode, EncodeError, Message, Reader, Request, StrBytes};
use crate::{ApiKey, UnknownApiKey};

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// Room made for one read when nothing is known of the next frame.
const READ_BYTES: usize = 16 * 1024;

/// With less room than this a new buffer pays for itself in larger reads.
const ROOM_MIN_BYTES: usize = 4 * 1024;

/// Up to this size a frame's memory is taken at once; beyond, it doubles as bytes arrive, so that a
/// peer must send what it announced before it costs us anything.
const TRUSTED_BYTES: usize = 512 * 1024;

/// Cuts a stream of bytes into frames.
///
/// Read into [`FrameDecoder::buffer`], then call [`FrameDecoder::next_frame`] until it has none.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

/// A stream that can not be cut into frames any more: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length below zero.
    #[error("frame announces {length} bytes")]
    NegativeLength {
        /// As read.
        length: i32,
    },
    /// More than the limit (`socket.request.max.bytes`).
    #[error("frame announces {length} bytes, more than the limit of {max}")]
    TooLarge {
        /// As read.
        length: usize,
        /// The limit.
        max: usize,
    },
}

impl FrameDecoder {
    /// A decoder that refuses frames of more than `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> FrameDecoder {
        FrameDecoder { buffer: BytesMut::new(), frame_bytes_max }
    }

    /// Changes the limit for the frames whose length was not looked at yet; authentication does.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The buffer to append received bytes to, with room for a read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let room = self.buffer.capacity() - self.buffer.len();
        let missing = self.missing_bytes();
        if room < missing.min(ROOM_MIN_BYTES) {
            self.buffer.reserve(missing);
        }
        &mut self.buffer
    }

    /// Bytes received that are not yet part of a returned frame.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, without its length; none until more bytes arrive.
    ///
    /// # Errors
    /// When the length is negative or above the limit.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.announced_bytes()? else { return Ok(None) };
        if self.buffer.len() - LENGTH_BYTES < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn announced_bytes(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let max = self.frame_bytes_max;
        match usize::try_from(length) {
            Err(_) => Err(FrameError::NegativeLength { length }),
            Ok(length) if length > max => Err(FrameError::TooLarge { length, max }),
            Ok(length) => Ok(Some(length)),
        }
    }

    fn missing_bytes(&self) -> usize {
        let Ok(Some(length)) = self.announced_bytes() else { return READ_BYTES };
        let missing = (length + LENGTH_BYTES).saturating_sub(self.buffer.len());
        missing.clamp(READ_BYTES, TRUSTED_BYTES.max(self.buffer.len()))
    }
}

/// The header of a request whose API is known, and the reader of its body.
#[derive(Debug)]
pub struct RequestFrame {
    /// The API.
    pub api_key: ApiKey,
    /// The body's version; the schemas may not have it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
    /// Stands at the body.
    pub body: Reader,
}

/// A request that names no body to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither Kafka nor we know the API.
    #[error(transparent)]
    ApiKey(#[from] UnknownApiKey),
    /// The header's bytes are wrong.
    #[error("request header")]
    Decode(#[from] DecodeError),
}

/// Reads a request's header.
///
/// An ApiVersions request of an unknown version is read as far as its correlation id, so that the
/// broker can answer it with error 35 (KIP-511).
///
/// # Errors
/// When the API key is unknown or the bytes are no header.
pub fn decode_request_header(frame: Bytes) -> Result<RequestFrame, HeaderError> {
    let mut peek = Reader::new(frame.clone());
    let (key, api_version, correlation_id) = (peek.i16()?, peek.i16()?, peek.i32()?);
    let api_key = ApiKey::try_from(key)?;
    if api_key == ApiKey::ApiVersions && !api_key.has_version(api_version) {
        return Ok(RequestFrame {
            api_key,
            api_version,
            correlation_id,
            client_id: None,
            body: peek,
        });
    }
    let mut body = Reader::new(frame);
    let header = RequestHeader::decode(&mut body, api_key.request_header_version(api_version))?;
    let client_id = header.client_id;
    Ok(RequestFrame { api_key, api_version, correlation_id, client_id, body })
}

/// A request as buffers to write, its length in front.
///
/// # Errors
/// When the version can not carry the request.
pub fn encode_request<R: Request>(
    request: &R,
    api_version: i16,
    correlation_id: i32,
    client_id: Option<&StrBytes>,
) -> Result<Vec<Bytes>, EncodeError> {
    let header = RequestHeader {
        request_api_key: R::KEY.code(),
        request_api_version: api_version,
        correlation_id,
        client_id: client_id.cloned(),
        ..RequestHeader::default()
    };
    let mut writer = Writer::start_frame();
    header.encode(&mut writer, R::KEY.request_header_version(api_version))?;
    request.encode(&mut writer, api_version)?;
    writer.finish_frame()
}

/// A response as buffers to write, its length in front.
///
/// # Errors
/// When the version can not carry the response.
pub fn encode_response<M: Message>(
    response: &M,
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut writer = Writer::start_frame();
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    header.encode(&mut writer, api_key.response_header_version(api_version))?;
    response.encode(&mut writer, api_version)?;
    writer.finish_frame()
}

/// Reads a response's header; the reader then stands at the body. Memory for the body is limited to
/// `budget_bytes`, since a client trusts its broker more than a broker its clients.
///
/// # Errors
/// When the bytes are no header.
pub fn decode_response_header(
    frame: Bytes,
    api_key: ApiKey,
    api_version: i16,
    budget_bytes: usize,
) -> Result<(i32, Reader), DecodeError> {
    let mut body = Reader::with_budget(frame, budget_bytes);
    let header = ResponseHeader::decode(&mut body, api_key.response_header_version(api_version))?;
    Ok((header.correlation_id, body))
}
