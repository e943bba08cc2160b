//! The codecs: compress a batch's records, decompress them within a bound.
//!
//! Snappy has two forms. Java clients frame it (snappy-java: 16 bytes of header, then blocks with
//! their lengths), librdkafka writes one bare block; readers take both. LZ4 is the LZ4 frame format,
//! gzip may have several members, zstd several frames.
//!
//! What a codec itself holds while it works, whatever the input: gzip 64 KiB, LZ4 two of the frame's
//! blocks (64 KiB from Java, 4 MiB at most), Snappy one block (32 KiB from Java; a bare block has at
//! most 22 bytes for each of its own), zstd the frame's window (2 MiB from Java's default level,
//! 128 MiB at most, as in zstd-jni). One of these per thread, since nothing here waits. Compressing
//! keeps the tables of zstd and gzip from one batch to the next, for each thread that ever did it.

use std::cell::RefCell;
use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::{Compress, Crc, FlushCompress, Status};
use zstd::zstd_safe::{CCtx, DCtx, SafeResult};

use crate::records::stream::Stream;
use crate::records::{BatchError, Compression};

/// Compression levels of topics and producers (KIP-390); none is the codec's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressionLevel(pub Option<i32>);

/// Kafka's `compression.zstd.level`.
const ZSTD_LEVEL: i32 = 3;

/// Room made for each compressed byte before anything is known of the rest.
const RATIO_GUESS: usize = 4;

/// snappy-java's `SnappyOutputStream` writes blocks of this size.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;
const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const SNAPPY_HEADER_BYTES: usize = 16;
/// A copy element of three bytes yields 64 at most.
const SNAPPY_RATIO_MAX: usize = 22;

/// What decompression keeps between batches: a window and the codecs' working memory.
///
/// One per thread or task that validates; empty until a compressed batch comes.
#[derive(Default)]
pub struct Scratch {
    pub(super) window: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

impl Scratch {
    /// Holds nothing yet.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// A stream of what `input` decompresses to.
    pub(super) fn stream<'a>(
        &'a mut self,
        compression: Compression,
        input: &'a [u8],
    ) -> Result<Stream<'a>, BatchError> {
        let zstd = &mut self.zstd;
        let reader =
            open(compression, input, zstd).map_err(|error| codec_error(compression, &error))?;
        Ok(Stream::new(compression, reader, &mut self.window))
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("window", &self.window.capacity()).finish_non_exhaustive()
    }
}

/// The error of a codec that refuses its input.
pub(super) fn codec_error(compression: Compression, error: &io::Error) -> BatchError {
    BatchError::Codec { compression, reason: error.to_string() }
}

/// Decompresses records; `limit` bounds the result in bytes.
///
/// # Errors
/// When the codec refuses the bytes or they exceed the limit.
pub fn decompress(
    compression: Compression,
    input: &Bytes,
    limit: usize,
    scratch: &mut Scratch,
) -> Result<Bytes, BatchError> {
    if compression == Compression::None {
        return if input.len() > limit {
            Err(BatchError::TooLarge { limit })
        } else {
            Ok(input.clone())
        };
    }
    let reader = open(compression, input, &mut scratch.zstd)
        .map_err(|error| codec_error(compression, &error))?;
    let mut output = Vec::with_capacity(limit.min(input.len().saturating_mul(RATIO_GUESS)));
    // One byte more than the limit tells too much from just enough.
    let mut bounded = reader.take(limit as u64 + 1);
    bounded.read_to_end(&mut output).map_err(|error| codec_error(compression, &error))?;
    if output.len() > limit {
        return Err(BatchError::TooLarge { limit });
    }
    Ok(Bytes::from(output))
}

fn open<'a>(
    compression: Compression,
    input: &'a [u8],
    zstd: &'a mut Option<DCtx<'static>>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Snappy => Box::new(SnappyReader::new(input)),
        Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(input)),
        Compression::Zstd => {
            let context = match zstd {
                Some(context) => context,
                None => zstd.insert(DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?),
            };
            // An error may have left the last batch's frame half read.
            let reset = context.reset(zstd::zstd_safe::ResetDirective::SessionOnly);
            reset.map_err(|code| io::Error::other(zstd::zstd_safe::get_error_name(code)))?;
            Box::new(zstd::stream::read::Decoder::with_context(input, context))
        }
    })
}

/// Both forms of Snappy.
struct SnappyReader<'a> {
    input: &'a [u8],
    form: SnappyForm,
    block: Vec<u8>,
    read: usize,
}

enum SnappyForm {
    /// Blocks with their lengths in front.
    Framed,
    /// One block without anything.
    Bare,
}

impl<'a> SnappyReader<'a> {
    fn new(input: &'a [u8]) -> SnappyReader<'a> {
        match input.split_at_checked(SNAPPY_HEADER_BYTES) {
            Some((header, input)) if header.starts_with(&SNAPPY_MAGIC) => {
                SnappyReader { input, form: SnappyForm::Framed, block: Vec::new(), read: 0 }
            }
            _ => SnappyReader { input, form: SnappyForm::Bare, block: Vec::new(), read: 0 },
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let block = match self.form {
            SnappyForm::Bare => std::mem::take(&mut self.input),
            SnappyForm::Framed => {
                let wrong = || io::Error::other("block reaches past the end");
                let (length, rest) = self.input.split_first_chunk::<4>().ok_or_else(wrong)?;
                let length = u32::from_be_bytes(*length) as usize;
                let (block, rest) = rest.split_at_checked(length).ok_or_else(wrong)?;
                self.input = rest;
                block
            }
        };
        let length = snap::raw::decompress_len(block).map_err(io::Error::other)?;
        if length > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(io::Error::other("block announces more than it can hold"));
        }
        self.block.resize(length, 0);
        self.read = 0;
        snap::raw::Decoder::new().decompress(block, &mut self.block).map_err(io::Error::other)?;
        Ok(())
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() {
            if self.input.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let count = output.len().min(self.block.len() - self.read);
        output[..count].copy_from_slice(&self.block[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

/// Appends the compressed form of `input` to `output`.
///
/// # Errors
/// When the codec fails, which only a level that it does not have can make it do.
pub fn compress(
    compression: Compression,
    level: CompressionLevel,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let result = match compression {
        Compression::None => {
            output.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => compress_gzip(level, input, output),
        Compression::Snappy => compress_snappy(input, output),
        Compression::Lz4 => compress_lz4(input, output),
        Compression::Zstd => compress_zstd(level, input, output),
    };
    result.map_err(|error| codec_error(compression, &error))
}

/// What compression keeps between batches: making the codecs' tables takes longer than compressing a
/// small batch.
#[derive(Default)]
struct Compressors {
    zstd: Option<CCtx<'static>>,
    /// With its level.
    gzip: Option<(flate2::Compression, Compress)>,
}

thread_local! {
    static COMPRESSORS: RefCell<Compressors> = RefCell::default();
}

/// One member with the shortest header there is (RFC 1952).
fn compress_gzip(level: CompressionLevel, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let level = match level.0 {
        // Kafka's -1 is zlib's default.
        Some(level) if (0..=9).contains(&level) => flate2::Compression::new(level as u32),
        _ => flate2::Compression::default(),
    };
    output.extend_from_slice(&HEADER);
    COMPRESSORS.with_borrow_mut(|compressors| match &mut compressors.gzip {
        Some((known, deflate)) if *known == level => {
            deflate.reset();
            deflate_into(deflate, input, output)
        }
        gzip => {
            let (_, deflate) = gzip.insert((level, Compress::new(level, false)));
            deflate_into(deflate, input, output)
        }
    })?;
    let mut crc = Crc::new();
    crc.update(input);
    output.extend_from_slice(&crc.sum().to_le_bytes());
    output.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(())
}

fn deflate_into(deflate: &mut Compress, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    // Most records become smaller, and none grows by much.
    output.reserve(input.len() / 2 + 64);
    loop {
        let rest = &input[deflate.total_in() as usize..];
        if deflate.compress_vec(rest, output, FlushCompress::Finish)? == Status::StreamEnd {
            return Ok(());
        }
        output.reserve(input.len() / 4 + 64);
    }
}

fn compress_snappy(input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    output.extend_from_slice(&SNAPPY_MAGIC);
    // Version and the oldest version that reads it.
    output.extend_from_slice(&1u32.to_be_bytes());
    output.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(SNAPPY_BLOCK_BYTES) {
        let start = output.len() + size_of::<u32>();
        output.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut output[start..]).map_err(io::Error::other)?;
        output.truncate(start + length);
        output[start - size_of::<u32>()..start].copy_from_slice(&(length as u32).to_be_bytes());
    }
    Ok(())
}

/// The library has one level; Kafka's `compression.lz4.level` only trades time for size.
fn compress_lz4(input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let frame = lz4_flex::frame::FrameInfo::new()
        // What Kafka's Java client writes: it reads nothing but independent blocks.
        .block_mode(lz4_flex::frame::BlockMode::Independent)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, output);
    encoder.write_all(input)?;
    encoder.finish().map_err(io::Error::other)?;
    Ok(())
}

fn compress_zstd(level: CompressionLevel, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let level = level.0.unwrap_or(ZSTD_LEVEL);
    let start = output.len();
    output.resize(start + zstd::zstd_safe::compress_bound(input.len()), 0);
    let compressed: SafeResult = COMPRESSORS.with_borrow_mut(|compressors| {
        let context = compressors.zstd.get_or_insert_with(CCtx::create);
        context.compress(&mut output[start..], input, level)
    });
    let length =
        compressed.map_err(|code| io::Error::other(zstd::zstd_safe::get_error_name(code)))?;
    output.truncate(start + length);
    Ok(())
}
