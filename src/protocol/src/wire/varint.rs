//! Variable-length numbers: 7 bits a byte, lowest first (protobuf's; Kafka's `ByteUtils`).
//!
//! The functions work on plain slices, so that walks over records use the same code as frames.
//! Reading takes the bytes that it used off the front of the slice.

use crate::wire::DecodeError;

/// The most bytes of a 32-bit number.
pub const MAX_BYTES_32: usize = 5;
/// The most bytes of a 64-bit number.
pub const MAX_BYTES_64: usize = 10;

/// Reads an unsigned 32-bit number.
///
/// # Errors
/// When the slice ends in the middle of the number, or the number exceeds 32 bits.
#[inline]
pub fn read_u32(input: &mut &[u8]) -> Result<u32, DecodeError> {
    match input.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *input = rest;
            Ok(u32::from(byte))
        }
        Some((&low, [high, rest @ ..])) if *high < 0x80 => {
            *input = rest;
            Ok(u32::from(low & 0x7f) | u32::from(*high) << 7)
        }
        _ => {
            let value = read_long(input, MAX_BYTES_32)?;
            u32::try_from(value).map_err(|_| DecodeError::VarintTooLong)
        }
    }
}

/// Reads an unsigned 64-bit number.
///
/// # Errors
/// When the slice ends in the middle of the number, or the number exceeds 64 bits.
#[inline]
pub fn read_u64(input: &mut &[u8]) -> Result<u64, DecodeError> {
    match input.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *input = rest;
            Ok(u64::from(byte))
        }
        Some((&low, [high, rest @ ..])) if *high < 0x80 => {
            *input = rest;
            Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
        }
        _ => read_long(input, MAX_BYTES_64),
    }
}

fn read_long(input: &mut &[u8], max_bytes: usize) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for (at, &byte) in input.iter().take(max_bytes).enumerate() {
        // The tenth byte of a 64-bit number has room for one bit.
        if at == MAX_BYTES_64 - 1 && byte > 1 {
            return Err(DecodeError::VarintTooLong);
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *input = &input[at + 1..];
            return Ok(value);
        }
    }
    if input.len() >= max_bytes {
        return Err(DecodeError::VarintTooLong);
    }
    Err(DecodeError::Truncated { needed: input.len() + 1, remaining: input.len() })
}

/// Reads a signed 32-bit number in zigzag form.
///
/// # Errors
/// As [`read_u32`].
#[inline]
pub fn read_i32(input: &mut &[u8]) -> Result<i32, DecodeError> {
    let value = read_u32(input)?;
    Ok((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// Reads a signed 64-bit number in zigzag form.
///
/// # Errors
/// As [`read_u64`].
#[inline]
pub fn read_i64(input: &mut &[u8]) -> Result<i64, DecodeError> {
    let value = read_u64(input)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// A number's bytes on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Varint {
    bytes: [u8; MAX_BYTES_64],
    len: u8,
}

impl Varint {
    /// Unsigned.
    #[inline]
    pub fn unsigned(mut value: u64) -> Varint {
        let mut varint = Varint { bytes: [0; MAX_BYTES_64], len: 0 };
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            varint.bytes[usize::from(varint.len)] = if value == 0 { low } else { low | 0x80 };
            varint.len += 1;
            if value == 0 {
                return varint;
            }
        }
    }

    /// Signed, in zigzag form; 32-bit numbers have the same bytes as 64-bit ones.
    #[inline]
    pub fn signed(value: i64) -> Varint {
        Varint::unsigned(((value << 1) ^ (value >> 63)) as u64)
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// How many bytes [`Varint::unsigned`] takes.
#[inline]
pub fn unsigned_len(value: u64) -> usize {
    // 7 bits a byte, and zero takes one byte too.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// How many bytes [`Varint::signed`] takes.
#[inline]
pub fn signed_len(value: i64) -> usize {
    unsigned_len(((value << 1) ^ (value >> 63)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: i64) {
        let varint = Varint::signed(value);
        let mut input = varint.as_slice();
        assert_eq!(input.len(), signed_len(value));
        assert_eq!(read_i64(&mut input), Ok(value));
        assert!(input.is_empty());
        let Ok(small) = i32::try_from(value) else { return };
        assert_eq!(read_i32(&mut varint.as_slice()), Ok(small));
    }

    #[test]
    fn numbers_come_back() {
        for shift in 0..63 {
            for near in -2..=2 {
                check((1 << shift) + near);
                check(-(1 << shift) + near);
            }
        }
        check(i64::MAX);
        check(i64::MIN);
    }

    #[test]
    fn bytes_are_protobufs() {
        assert_eq!(Varint::unsigned(300).as_slice(), [0xac, 0x02]);
        assert_eq!(Varint::signed(-1).as_slice(), [0x01]);
        assert_eq!(Varint::signed(i64::from(i32::MIN)).as_slice(), [0xff, 0xff, 0xff, 0xff, 0x0f]);
    }

    #[test]
    fn numbers_without_end_are_errors() {
        assert_eq!(read_u32(&mut &[0xff; 6][..]), Err(DecodeError::VarintTooLong));
        assert_eq!(
            read_u32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]),
            Err(DecodeError::VarintTooLong)
        );
        assert_eq!(read_u64(&mut &[0xff; 11][..]), Err(DecodeError::VarintTooLong));
        assert!(matches!(read_u32(&mut &[0x80][..]), Err(DecodeError::Truncated { .. })));
        assert!(matches!(read_u64(&mut &[][..]), Err(DecodeError::Truncated { .. })));
    }
}
