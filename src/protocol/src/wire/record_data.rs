//! The `records` field of Produce and Fetch: whole batches, undecoded.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// Record batches as they lie in a frame or a segment, in one or more pieces.
///
/// Neither decode nor encode copies them: a decoded value is a slice of its frame, an encoded one
/// becomes buffers of its own in the response.
#[derive(Clone)]
pub struct Records(Pieces);

#[derive(Clone)]
enum Pieces {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Records {
    /// No batch.
    pub const EMPTY: Records = Records(Pieces::One(Bytes::new()));

    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.chunks().iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.chunks().iter().all(Bytes::is_empty)
    }

    /// The pieces in order.
    pub fn chunks(&self) -> &[Bytes] {
        match &self.0 {
            Pieces::One(bytes) => std::slice::from_ref(bytes),
            Pieces::Many(chunks) => chunks,
        }
    }

    /// All bytes in one buffer; copies only when there are several pieces.
    pub fn to_bytes(&self) -> Bytes {
        if let Pieces::One(bytes) = &self.0 {
            return bytes.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len());
        self.chunks().iter().for_each(|chunk| joined.extend_from_slice(chunk));
        joined.freeze()
    }
}

impl Default for Records {
    fn default() -> Records {
        Records::EMPTY
    }
}

/// Equal when the bytes are, however they are cut.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        self.len() == other.len() && self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Records {}

/// How much there is, not a megabyte of numbers in a log line.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes in {} pieces)", self.len(), self.chunks().len())
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records(Pieces::One(bytes))
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(mut chunks: Vec<Bytes>) -> Records {
        match chunks.len() {
            0 => Records::EMPTY,
            1 => Records::from(chunks.remove(0)),
            _ => Records(Pieces::Many(chunks)),
        }
    }
}
