//! Why bytes are no record batch.

use crate::records::Compression;
use crate::wire::DecodeError;

/// Bytes of a segment or a request that are no valid batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header or the batch needs.
    #[error("batch needs {needed} bytes where {remaining} remain")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        remaining: usize,
    },
    /// A length field that no batch can have.
    #[error("batch announces a length of {length}")]
    Length {
        /// As read, without the 12 bytes in front.
        length: i32,
    },
    /// Another message format.
    #[error("batch has magic {magic}, only 2 is supported")]
    Magic {
        /// As read.
        magic: i8,
    },
    /// The bytes are not those that were written.
    #[error("batch has checksum {stored:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// As read.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A codec that does not exist.
    #[error("batch has unknown compression {code}")]
    UnknownCompression {
        /// As read.
        code: i16,
    },
    /// The codec refuses the bytes.
    #[error("decompress {compression}: {reason}")]
    Codec {
        /// The codec.
        compression: Compression,
        /// Its words.
        reason: String,
    },
    /// More than the caller wants to hold.
    #[error("records exceed {limit} bytes when decompressed")]
    TooLarge {
        /// The caller's limit.
        limit: usize,
    },
    /// A record that does not end where it should, or has impossible lengths.
    #[error("record {index}")]
    Record {
        /// Its place in the batch, from 0.
        index: i32,
        /// What is wrong.
        source: DecodeError,
    },
    /// Bytes behind the last record.
    #[error("batch of {count} records has more bytes behind them")]
    TrailingBytes {
        /// The count in the header.
        count: i32,
    },
    /// A control batch without a readable control record.
    #[error("control batch: {reason}")]
    Control {
        /// What is wrong.
        reason: &'static str,
    },
}
