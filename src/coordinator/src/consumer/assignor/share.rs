//! Sharing out a row of things so that shares differ by at most one and little changes hands.

/// Who gets each thing, given who has it; `count` takers, none has a number of `count` or more.
///
/// Everybody gets n/m things or one more. Those who have more than that already are the ones who get
/// one more, so that they keep what they can. What changes hands goes to the takers in their order,
/// and in the order of the row: a row that nobody has is cut into ranges.
pub(super) fn share_out(holders: &[Option<usize>], count: usize) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let quotas = quotas(holders, count);
    let mut left = quotas;
    let mut shares: Vec<Option<usize>> = Vec::with_capacity(holders.len());
    for holder in holders {
        let keeps = holder.filter(|holder| left[*holder] > 0);
        if let Some(holder) = keeps {
            left[holder] -= 1;
        }
        shares.push(keeps);
    }
    let mut taker = 0;
    shares
        .into_iter()
        .map(|share| {
            share.unwrap_or_else(|| {
                while left[taker] == 0 {
                    taker += 1;
                }
                left[taker] -= 1;
                taker
            })
        })
        .collect()
}

/// How many things each taker gets.
fn quotas(holders: &[Option<usize>], count: usize) -> Vec<usize> {
    let (least, mut extra) = (holders.len() / count, holders.len() % count);
    let mut held = vec![0_usize; count];
    for holder in holders.iter().flatten() {
        held[*holder] += 1;
    }
    let mut quotas = vec![least; count];
    for has_more in [true, false] {
        for taker in 0..count {
            if extra > 0 && (held[taker] > least) == has_more {
                quotas[taker] += 1;
                extra -= 1;
            }
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_row_is_cut_into_ranges() {
        assert_eq!(share_out(&[None; 7], 3), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(share_out(&[None; 2], 3), [0, 1]);
        assert!(share_out(&[], 3).is_empty());
        assert!(share_out(&[None], 0).is_empty());
    }

    #[test]
    fn holders_keep_what_they_can() {
        let row = [Some(1), Some(1), Some(1), Some(0), Some(0), None, None];
        assert_eq!(share_out(&row, 3), [1, 1, 1, 0, 0, 2, 2]);
        assert_eq!(share_out(&row, 2), [1, 1, 1, 0, 0, 0, 0]);
        assert_eq!(share_out(&[Some(0); 4], 2), [0, 0, 1, 1]);
    }
}
