//! How many records of each partition an epoch takes: max-min fairness, pure arithmetic.

/// Shares `limit` records out among partitions that have so many ahead, as evenly as they go: what one does not need,
/// the others get. At least one record is taken if there is any.
pub(super) fn share(ahead: &[u64], limit: u64) -> Vec<u64> {
    let mut shares = vec![0; ahead.len()];
    let mut order: Vec<usize> = (0..ahead.len()).collect();
    order.sort_by_key(|n| ahead[*n]);
    let mut left = limit.max(1);
    let waiting = ahead.iter().filter(|rows| **rows > 0).count() as u64;
    // Those that have the least come first, so that what they leave is for the rest.
    for (taken, n) in order.into_iter().filter(|n| ahead[*n] > 0).enumerate() {
        shares[n] = ahead[n].min(left.div_ceil(waiting - taken as u64));
        left -= shares[n];
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn share_unused_by_one_partition_goes_to_the_others() {
        assert_eq!(share(&[10, 10], 100), [10, 10]);
        assert_eq!(share(&[100, 100], 10), [5, 5]);
        assert_eq!(share(&[1, 100, 0, 100], 21), [1, 10, 0, 10]);
        assert_eq!(share(&[5, 5, 5], 0), [1, 0, 0]);
        assert_eq!(share(&[0, 0], 5), [0, 0]);
        assert_eq!(share(&[], 5), [0; 0]);
    }

    proptest! {
        #[test]
        fn shares_use_the_whole_limit_and_are_even(
            ahead in prop::collection::vec(0u64..1000, 0..20),
            limit in 1u64..5000,
        ) {
            let shares = share(&ahead, limit);
            let total: u64 = ahead.iter().sum();
            prop_assert_eq!(shares.iter().sum::<u64>(), total.min(limit));
            let most = shares.iter().copied().max().unwrap_or(0);
            for (share, ahead) in shares.iter().zip(&ahead) {
                prop_assert!(share <= ahead);
                prop_assert!(share == ahead || *share + 1 >= most, "{shares:?} of {ahead:?}");
            }
        }
    }
}
