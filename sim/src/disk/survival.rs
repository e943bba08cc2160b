//! What of a file's unsynced changes is on the device after a loss of power.

use std::collections::BTreeMap;

use runtime::{RandomStream, Rng};
use serde::{Deserialize, Serialize};

use super::content::{Change, PAGE, apply, write};
use super::profile::{below, one_in};

/// What a device writes in one piece.
const SECTOR: u64 = 512;

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything: the kernel had just written it back.
    Everything,
    /// The first of the changes, in order.
    Prefix,
    /// Any of the changes.
    Subset,
    /// Any pages or sectors, each as it was at some moment.
    Pages,
    /// The first of the changes, and a part of the next one.
    Torn,
    /// The first of the changes, then zeros up to the length: the file's size was written, its
    /// blocks were not.
    LengthOnly,
    /// Each file fares as it may.
    Mixed,
}

impl Survival {
    const OF_ONE_FILE: [Survival; 7] = [
        Survival::Nothing,
        Survival::Everything,
        Survival::Prefix,
        Survival::Subset,
        Survival::Pages,
        Survival::Torn,
        Survival::LengthOnly,
    ];

    /// Any, each as likely as the others.
    pub(super) fn drawn(draws: &mut RandomStream) -> Survival {
        let kinds = Survival::OF_ONE_FILE.len() as u64;
        let drawn = below(draws, kinds + 1) as usize;
        Survival::OF_ONE_FILE.get(drawn).copied().unwrap_or(Survival::Mixed)
    }
}

/// Applies to `durable` what survives of `changes`.
pub(super) fn survive(
    durable: &mut Vec<u8>,
    changes: &[Change],
    survival: Survival,
    draws: &mut RandomStream,
) {
    let count = changes.len() as u64;
    match survival {
        Survival::Nothing => {}
        Survival::Everything => apply_all(durable, changes),
        Survival::Prefix => {
            let kept = below(draws, count + 1) as usize;
            apply_all(durable, &changes[..kept]);
        }
        Survival::Subset => {
            for change in changes {
                if draws.next_u64() >> 63 == 0 {
                    apply(durable, change);
                }
            }
        }
        Survival::Pages => keep_pages(durable, changes, draws),
        Survival::Torn => tear(durable, changes, draws),
        Survival::LengthOnly => keep_length(durable, changes, draws),
        Survival::Mixed => {
            let drawn = below(draws, Survival::OF_ONE_FILE.len() as u64) as usize;
            survive(durable, changes, Survival::OF_ONE_FILE[drawn], draws);
        }
    }
}

fn apply_all(durable: &mut Vec<u8>, changes: &[Change]) {
    for change in changes {
        apply(durable, change);
    }
}

/// Every unit is as it was after some of the changes, and so is the length after some of the cuts.
fn keep_pages(durable: &mut Vec<u8>, changes: &[Change], draws: &mut RandomStream) {
    let unit = if one_in(draws, 2) { SECTOR } else { PAGE };
    let count = changes.len() as u64;
    let mut moment = || match below(draws, 3) {
        0 => 0,
        1 => count,
        _ => below(draws, count + 1),
    };
    let cuts_until = moment();
    let mut written_until = BTreeMap::new();
    for (change, number) in changes.iter().zip(0..) {
        match change {
            Change::SetLen(_) if number < cuts_until => apply(durable, change),
            Change::SetLen(_) => {}
            Change::Write { position, bytes } => {
                for (at, piece) in pieces(*position, bytes, unit) {
                    if number < *written_until.entry(at / unit).or_insert_with(&mut moment) {
                        write(durable, at, piece);
                    }
                }
            }
        }
    }
}

/// All changes before one, and of that one its first sectors, or any.
fn tear(durable: &mut Vec<u8>, changes: &[Change], draws: &mut RandomStream) {
    let torn = below(draws, changes.len() as u64) as usize;
    apply_all(durable, &changes[..torn]);
    let Some(Change::Write { position, bytes }) = changes.get(torn) else { return };
    let kept = below(draws, 1 + (bytes.len() as u64).div_ceil(SECTOR));
    let in_order = one_in(draws, 2);
    for ((at, piece), number) in pieces(*position, bytes, SECTOR).zip(0..) {
        let is_kept = if in_order { number < kept } else { one_in(draws, 2) };
        if is_kept {
            write(durable, at, piece);
        }
    }
}

/// The first changes, then the length that the file had after all of them.
fn keep_length(durable: &mut Vec<u8>, changes: &[Change], draws: &mut RandomStream) {
    let mut len = durable.len() as u64;
    for change in changes {
        len = match change {
            Change::SetLen(len) => *len,
            Change::Write { position, bytes } => len.max(position + bytes.len() as u64),
        };
    }
    let kept = below(draws, changes.len() as u64 + 1) as usize;
    apply_all(durable, &changes[..kept]);
    if (durable.len() as u64) < len {
        durable.resize(len as usize, 0);
    }
}

/// `bytes` at `position`, cut where units of the device end.
pub(super) fn pieces(position: u64, bytes: &[u8], unit: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    let mut at = position;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = (unit - at % unit) as usize;
        let (piece, more) = rest.split_at(room.min(rest.len()));
        let found = (at, piece);
        rest = more;
        at += piece.len() as u64;
        Some(found)
    })
}
