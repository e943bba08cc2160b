//! Where a reader starts.

use std::str::FromStr;
use std::time::Duration;

use model::{Offset, Timestamp};

use crate::times::{parse_duration, parse_time};

/// `--from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The first record there is.
    Beginning,
    /// Behind the last one.
    End,
    /// A certain offset in every partition.
    At(Offset),
    /// So many offsets before the end of every partition.
    BeforeEnd(i64),
    /// The first record that is not older.
    Since(Timestamp),
    /// The first record that is not older than this, seen from now.
    Ago(Duration),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        match text {
            "beginning" | "start" | "earliest" => return Ok(Start::Beginning),
            "end" | "latest" => return Ok(Start::End),
            _ => {}
        }
        if let Ok(number) = text.parse::<i64>() {
            let offset = if text.starts_with('-') {
                Start::BeforeEnd(number.saturating_neg())
            } else {
                Start::At(Offset(number))
            };
            return Ok(offset);
        }
        if let Some(time) = parse_time(text) {
            return Ok(Start::Since(time));
        }
        parse_duration(text).map(Start::Ago).map_err(|_| {
            format!(
                "`{text}` is no place to start: write beginning, end, an offset, -N, a time such as 2026-11-23T21:00:00Z or how long ago (15m, 2h, 7d)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (text, start) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("42", Start::At(Offset(42))),
            ("-3", Start::BeforeEnd(3)),
            ("2026-11-23", Start::Since(Timestamp(1_795_392_000_000))),
            ("15m", Start::Ago(Duration::from_secs(900))),
        ] {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
        assert!("somewhere".parse::<Start>().is_err());
    }
}
